"""Stable-Baselines3 algorithms with spiking policies."""

from snnrl.agents.ddpg import DDPG
from snnrl.agents.td3 import TD3

__all__ = ["DDPG", "TD3"]
