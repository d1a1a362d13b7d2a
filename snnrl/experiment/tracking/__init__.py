"""Curves outside the run folder: Weights & Biases, TensorBoard."""
