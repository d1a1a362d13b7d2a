"""Terms that are added to a loss."""

from __future__ import annotations

import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.losses import LossTerm, Pass, watched
from snnrl.nn.registry import build

from .networks import observations, tiny


def test_a_rate_by_hand() -> None:
    term = build("loss", dict(name="rate", weight=0.5, target=0.25))
    seen = Pass({"a": torch.tensor([0.25, 0.75]), "b": torch.tensor([0.0])}, {})
    # 0.5 * mean(mean(0, 0.5^2), 0.25^2)
    assert term(seen).item() == pytest.approx(0.5 * (0.125 + 0.0625) / 2)


class Quiet(LossTerm):
    """Squared membrane potentials."""

    needs_traces = True

    def forward(self, seen: Pass) -> torch.Tensor:
        return sum(trace.membranes.square().mean() for trace in seen.traces.values())


@pytest.mark.parametrize("kernel", ["naive", "native"])
def test_terms_are_added_up_and_learned_from(kernel: str) -> None:
    network = tiny(kernel=kernel)
    terms = [build("loss", "rate"), Quiet()]
    with watched(network, terms) as total:
        network(observations())
        value = total()
    value.backward()
    assert network.layers[0].linear.weight.grad.abs().max() > 0
    with watched(network, terms[:1]) as total:
        network(observations())
        assert 0 < total() < value


def test_no_terms() -> None:
    network = tiny(kernel="native")
    with watched(network, []) as total:
        network(observations())
        assert total() is None


def test_parameters_are_checked() -> None:
    with pytest.raises(UserError, match=r"^loss\.target=2: expected at most 1$"):
        build("loss", dict(name="rate", target=2))
