"""Trained agents outside of training: folded networks, files for other tools, costs."""
