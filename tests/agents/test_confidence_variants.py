"""Agents whose statistics move by a variant of the confidence rule."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from snnrl.agents import TD3
from snnrl.experiment.checkpoint.save import check_finite
from snnrl.nn.norm import norm_layers

from .helpers import small

VARIANTS: list[dict[str, Any]] = [
    dict(confidence="corrected", effective_n="auto"),
    dict(confidence="kalman", effective_n="auto", recalibrate_every=10),
]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", VARIANTS, ids=["corrected", "kalman"])
def test_all_state_is_finite_and_saved(variant: dict[str, Any]) -> None:
    agent = small("td3-spiking", policy_kwargs=dict(bn=dict(name="carebn", **variant)))
    check_finite(agent)
    agent.learn(24)
    check_finite(agent)
    for part in agent.parts().values():
        for layer in norm_layers(part):
            assert (layer.gains()["gain_mean"] > 0).any()
    file = io.BytesIO()
    agent.save(file)
    file.seek(0)
    loaded = TD3.load(file)
    state = agent.policy.state_dict()
    for name, tensor in loaded.policy.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    targets = norm_layers(agent.policy.actor_target)
    assert all(not norm.update.gain_mean.any() for norm in targets)
    assert all(norm.moving_mean.any() for norm in targets)
