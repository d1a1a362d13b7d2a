"""``print`` of a network shows the parameters that are not in its tensors."""

from __future__ import annotations

import pytest

from snnrl.agents import TD3
from tests.envs import Follow

from .networks import tiny
from .parts import NEURONS, make_neuron


def test_an_agents_policy() -> None:
    agent = TD3(
        "SpikingPolicy",
        Follow(),
        buffer_size=8,
        policy_kwargs=dict(net_arch=[8], neuron=dict(name="clif", decay=0.6), kernel="naive"),
    )
    text = str(agent.policy)
    for shown in (
        "decay=0.6, current_decay=0.5",
        "(threshold): Threshold(0.5)",
        "(surrogate): Rectangular(scale=0.5)",
        "8, eps=1e-05",
        "ConfidenceUpdate(smoothing=0.8, effective_n=batch size - 1)",
        "PopulationEncoder(2, population=10, time_steps=5)",
        "PopulationDecoder(2, population=10)",
        "kernel=naive",
    ):
        assert shown in text


@pytest.mark.parametrize("name", NEURONS)
def test_every_number_of_a_neuron(name: str) -> None:
    neuron = make_neuron({"name": name, "threshold": 0.25, "detach_reset": True}, "tanh")
    text = str(neuron)
    numbers = [key for key, value in vars(neuron).items() if isinstance(value, float)]
    for key in numbers:
        assert f"{key}={getattr(neuron, key):g}" in text
    assert "Threshold(0.25)" in text
    assert "Tanh(scale=2)" in text
    assert "detach_reset=True" in text
    if name == "dn":
        assert "tv=-0.172, tu=0.529, tr=0.021, ts=0.132" in text


def test_other_parts() -> None:
    assert "momentum=0.1" in str(tiny("vanilla"))
    assert "DirectEncoder(3, time_steps=" in str(tiny(encoder="direct"))
    shown = "MembraneReadout(2, population=3, value=last, decay=1)"
    assert shown in str(tiny(readout="membrane"))
