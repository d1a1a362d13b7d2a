"""Gymnasium environments, ready for the agents."""

from snnrl.envs.make import OBSERVATIONS, make_env
from snnrl.envs.state import Stateful, get_state, obstacle, set_state

__all__ = [
    "OBSERVATIONS",
    "Stateful",
    "get_state",
    "make_env",
    "obstacle",
    "set_state",
]
