"""Regulations move thresholds, in passes that learn and in no other."""

from __future__ import annotations

from typing import Annotated

import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.adaptive import followed_pairs, frozen
from snnrl.nn.norm import recalibrating
from snnrl.nn.regulations import Regulation
from snnrl.parameters import Above

from .networks import observations, tiny


class Proportional(Regulation):
    """Thresholds rise where the rate is above the target.

    :param target: spikes per time step
    """

    def __init__(self, layers: int, target: Annotated[float, Above(0)] = 0.1):
        super().__init__(layers)
        self.target = target
        self.register_buffer("logarithm", torch.zeros(layers))

    def forward(self, rates: torch.Tensor) -> torch.Tensor:
        self.logarithm.add_(0.1 * (rates - self.target))
        return self.logarithm.exp()

    def followed(self) -> list[torch.Tensor]:
        return [self.logarithm]


def gains(network: torch.nn.Module) -> torch.Tensor:
    return torch.stack([layer.neuron.threshold.gain for layer in network.stack()])


def test_compiled_code_is_refused() -> None:
    with pytest.raises(UserError, match=r"^kernel=compile: cannot be combined with a regulation"):
        tiny("none", regulation=Proportional, kernel="compile")


@pytest.mark.parametrize("kernel", ["naive", "native"])
def test_a_pass_that_learns_moves_the_thresholds(kernel: str) -> None:
    network = tiny("none", regulation=Proportional, kernel=kernel)
    first = network(observations())
    first.sum().backward()
    assert not torch.equal(gains(network), torch.ones(3))
    assert torch.equal(gains(network), network.regulation.logarithm.exp())
    for _ in range(20):
        network(observations())
    with frozen(network):
        assert not torch.equal(network(observations()), first)


def test_no_other_pass_does() -> None:
    network = tiny("carebn", regulation=Proportional)
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def unchanged(*names: str) -> bool:
        state = network.state_dict()
        return all(torch.equal(state[n], before[n]) for n in before if any(p in n for p in names))

    with torch.no_grad():
        network(observations())
    with frozen(network):
        network(observations())
    network.eval()
    network(observations())
    assert unchanged("")
    network.train()
    with recalibrating(network):
        network(observations())
    assert unchanged("gain", "logarithm")
    network(observations())
    assert not unchanged("gain")


def test_targets_follow() -> None:
    online, target = (tiny(regulation=Proportional) for _ in range(2))
    online(observations())
    names = {id(value): name for name, value in online.named_buffers()}
    followed = [names[id(ours)] for ours, _ in followed_pairs(online, target)]
    assert [name for name in followed if name.endswith("gain")] == [
        f"layers.{i}.neuron.threshold.gain" for i in range(3)
    ]
    assert "regulation.logarithm" in followed


def test_parameters_are_checked() -> None:
    with pytest.raises(UserError, match=r"^regulation\.target=0: expected more than 0$"):
        tiny(regulation=dict(name=Proportional, target=0))
    with pytest.raises(UserError, match=r"^regulation=proportional: expected one of"):
        tiny(regulation="proportional")
