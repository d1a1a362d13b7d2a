"""A laboratory's own parts."""
