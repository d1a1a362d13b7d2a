"""Settings: their types, composition, checks and names."""
