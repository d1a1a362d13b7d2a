"""The state of every random generator that no agent and no environment keeps itself."""

from __future__ import annotations

from typing import Any

import torch

from snnrl.agents.base import SpikingAgent
from snnrl.seeds import global_states, restore_global_states


def generator_states(agent: SpikingAgent) -> dict[str, Any]:
    """Of Python, numpy, torch, each CUDA device and the agent's action space."""
    return {
        **global_states(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "actions": agent.action_space.np_random.bit_generator.state,
    }


def restore_generators(agent: SpikingAgent, saved: dict[str, Any]) -> None:
    """Put the generators where :func:`generator_states` found them."""
    restore_global_states(saved)
    if saved["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state.cpu() for state in saved["cuda"]])
    agent.action_space.np_random.bit_generator.state = saved["actions"]
