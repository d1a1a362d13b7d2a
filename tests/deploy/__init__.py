"""Trained agents outside of training."""
