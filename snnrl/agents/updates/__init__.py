"""Pieces of a gradient step."""
