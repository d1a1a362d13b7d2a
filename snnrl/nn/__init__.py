"""Torch modules of spiking networks, time first (``[T, B, ...]``). They know nothing of RL."""

from snnrl.earlier_names import install

# Networks that were saved by themselves name it.
install(__name__, {"norm.strategies": "norm.strategy"})
