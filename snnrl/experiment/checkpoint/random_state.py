"""State of the random generators that neither the agent nor an environment keeps."""

from __future__ import annotations

from typing import Any

import torch

from snnrl.agents.base import SpikingAgent
from snnrl.seeds import global_states, restore_global_states


def generator_states(agent: SpikingAgent) -> dict[str, Any]:
    """Return the states of Python, numpy, torch, the agent's CUDA device and its action space."""
    return {
        **global_states(),
        # Querying another device's state would start CUDA there.
        "cuda": torch.cuda.get_rng_state(agent.device) if agent.device.type == "cuda" else None,
        "actions": agent.action_space.np_random.bit_generator.state,
    }


def restore_generators(agent: SpikingAgent, saved: dict[str, Any]) -> None:
    """Restore the generators to the states of :func:`generator_states`.

    If the agent is on a CUDA device now and was not when saved, or the reverse, that generator
    starts from the agent's seed.
    """
    restore_global_states(saved)
    if agent.device.type == "cuda" and (state := _of_device(agent, saved["cuda"])) is not None:
        torch.cuda.set_rng_state(state.cpu(), agent.device)
    agent.action_space.np_random.bit_generator.state = saved["actions"]


def _of_device(agent: SpikingAgent, saved: Any) -> torch.Tensor | None:
    if not isinstance(saved, list):
        state: torch.Tensor | None = saved
        return state
    # Earlier versions saved the states of all devices.
    index = agent.device.index or 0
    return saved[index] if index < len(saved) else None
