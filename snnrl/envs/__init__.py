"""Gymnasium environments, ready for the agents."""

from snnrl.envs.blame import blame
from snnrl.envs.bounds import action_problem, missing_space, observation_problem
from snnrl.envs.ids import known_ids, nearest_id
from snnrl.envs.make import OBSERVATIONS, make_env
from snnrl.envs.state import Stateful, get_state, obstacle, set_state

__all__ = [
    "OBSERVATIONS",
    "Stateful",
    "action_problem",
    "blame",
    "get_state",
    "known_ids",
    "make_env",
    "missing_space",
    "nearest_id",
    "observation_problem",
    "obstacle",
    "set_state",
]
