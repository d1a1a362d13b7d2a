"""The state of every random generator that no agent and no environment keeps itself."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from snnrl.agents.base import SpikingAgent


def generator_states(agent: SpikingAgent) -> dict[str, Any]:
    """Of Python, numpy, torch, each CUDA device and the agent's action space."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "actions": agent.action_space.np_random.bit_generator.state,
    }


def restore_generators(agent: SpikingAgent, saved: dict[str, Any]) -> None:
    """Put the generators where :func:`generator_states` found them."""
    random.setstate(saved["python"])
    np.random.set_state(saved["numpy"])
    torch.set_rng_state(saved["torch"].cpu())
    if saved["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state.cpu() for state in saved["cuda"]])
    agent.action_space.np_random.bit_generator.state = saved["actions"]
