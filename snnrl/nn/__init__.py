"""Torch modules of spiking networks, time first (``[T, B, ...]``). They know nothing of RL."""
