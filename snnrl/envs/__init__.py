"""Gymnasium environments, ready for the agents."""

from snnrl.envs.make import make_env
from snnrl.envs.state import get_state, set_state

__all__ = ["get_state", "make_env", "set_state"]
