"""Trackers outside the run folder: Weights & Biases, TensorBoard."""
