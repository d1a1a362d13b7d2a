"""Buffers move in passes that learn, and in no other."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from snnrl.nn.adaptive import adaptive_modules, frozen
from snnrl.nn.norm import norm_layers
from snnrl.nn.registry import names

from .networks import observations, tiny, tiny_conv
from .parts import FUSED_NORMS

MOVING = [name for name in names("norm") if norm_layers(tiny(name))]


def test_which_strategies_have_moving_statistics() -> None:
    assert set(names("norm")) - set(MOVING) == {"none", "layernorm", "groupnorm"}


@pytest.mark.parametrize(
    ("bn", "kernel"),
    [*product(MOVING, ["naive"]), *product([n for n in FUSED_NORMS if n in MOVING], ["native"])],
)
def test_only_a_pass_that_learns_moves_statistics(bn: str, kernel: str) -> None:
    network = tiny(bn, kernel=kernel)
    before = {name: value.clone() for name, value in network.named_buffers()}

    def moved() -> bool:
        return any(not torch.equal(v, before[n]) for n, v in network.named_buffers())

    values = []
    with torch.no_grad():
        values.append(network(observations()))
    with frozen(network):
        values.append(network(observations()).detach())
    network.eval()
    values.append(network(observations()).detach())
    assert not moved()
    for value in values[1:]:
        torch.testing.assert_close(value, values[0], rtol=1e-3, atol=2e-5)
    network.train()
    learned = network(observations())
    assert moved()
    assert not torch.allclose(learned, values[0])


def test_frozen_ends_with_an_exception() -> None:
    network = tiny()
    with pytest.raises(KeyboardInterrupt), frozen(network):
        raise KeyboardInterrupt
    assert not any(module.frozen for module in adaptive_modules(network))


@pytest.mark.parametrize("make", [tiny, tiny_conv])
@pytest.mark.parametrize("bn", names("norm"))
def test_samples_are_independent_while_acting(bn: str, make: object) -> None:
    network = make(bn).eval()  # type: ignore[operator]
    x = observations() if make is tiny else torch.randn(32, 2, 6, 7)
    with torch.no_grad():
        whole = network(x)
        alone = torch.cat([network(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(whole[:4], alone, rtol=1e-4, atol=1e-5)
