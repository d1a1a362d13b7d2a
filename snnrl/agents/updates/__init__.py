"""What gradient steps are made of."""
