"""Torch modules of spiking networks, time first (``[T, B, ...]``), independent of RL."""

from snnrl.earlier_names import install

# Networks saved on their own refer to this name.
install(__name__, {"norm.strategies": "norm.strategy"})
