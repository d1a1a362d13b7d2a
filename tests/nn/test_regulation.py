"""Regulations move thresholds, in passes that learn and in no other."""

from __future__ import annotations

from typing import Annotated, Any, cast

import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn import networks
from snnrl.nn.adaptive import followed_pairs, frozen
from snnrl.nn.networks import SpikingNetwork
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


class Jumping(Regulation):
    """Gains that are far from the last ones, and others in each layer."""

    def __init__(self, layers: int):
        super().__init__(layers)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, rates: torch.Tensor) -> torch.Tensor:
        self.passes.add_(1)
        return 1 + 0.4 * torch.sin(self.passes * torch.arange(1, self.layers + 1))


def gradients(network: SpikingNetwork) -> dict[str, torch.Tensor]:
    """Of two passes together, as a regulation moves the thresholds in the first and the second."""
    network.zero_grad()
    values = [network(observations(seed)) for seed in (0, 1)]
    (values[0].square().sum() + values[1].sum()).backward()
    found = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    return found | {f"values {k}": value.detach() for k, value in enumerate(values)}


COMPILED = pytest.param("compile", marks=pytest.mark.slow)


@pytest.mark.parametrize("bn", ["none", "vanilla"])
@pytest.mark.parametrize("kernel", ["naive", "native", COMPILED])
def test_gradients_are_those_of_the_thresholds_of_their_pass(kernel: str, bn: str) -> None:
    """The gradient of a pass is the same whether thresholds move before it is computed or not."""
    network = tiny(bn, regulation=Jumping, kernel=kernel, surrogate="triangle")
    network(observations(2))
    levels = [[0.5 * gain for gain in gains(network).tolist()]]
    copied = {name: value.clone() for name, value in network.state_dict().items()}
    found = gradients(network)
    network.load_state_dict(copied)
    network(observations(0))
    levels.append([0.5 * gain for gain in gains(network).tolist()])
    assert levels[0] != pytest.approx(levels[1], abs=0.05)

    constant = tiny(bn, surrogate="triangle")
    constant.load_state_dict(copied, strict=False)
    expected: dict[str, torch.Tensor] = {}
    for k, of_pass in enumerate(levels):
        for layer, level in zip(constant.stack(), of_pass, strict=True):
            layer.neuron.threshold.value = level
        values = constant(observations(k))
        (values.square().sum() if k == 0 else values.sum()).backward()
        expected[f"values {k}"] = values.detach()
    expected |= {n: p.grad for n, p in constant.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-5, msg=name)


def test_compiled_code_takes_thresholds_that_never_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code may read its inputs again in its backward pass."""
    seen: list[list[torch.Tensor]] = []

    def compiled(network_pass: Any) -> Any:
        def watched(network: Any, x: torch.Tensor) -> torch.Tensor:
            thresholds = [layer.neuron.threshold for layer in network.stack()]
            seen.append([threshold.level() for threshold in thresholds])
            assert all(t.level() is s for t, s in zip(thresholds, seen[-1], strict=True))
            return cast(torch.Tensor, network_pass(network, x))

        return watched

    monkeypatch.setattr(networks, "_compiled", compiled)
    network = tiny("none", regulation=Jumping, kernel="compile")
    for _ in range(2):
        before = [0.5 * gain for gain in gains(network)]
        network(observations())
        assert seen[-1] == before != [0.5 * gain for gain in gains(network)]
    assert network.layers[0].neuron.threshold.level() is not seen[-1][0]


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
