"""Settings: their types, how they are composed, checked and named."""
