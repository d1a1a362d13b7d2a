"""Every encoder: what it encodes can be learned, through the spikes behind it."""

import pytest
import torch

from snnrl.nn.encoders import takes_time
from snnrl.nn.registry import names
from snnrl.ops.surrogate import DERIVATIVES
from tests.nn.learning import error_after_training
from tests.nn.networks import tiny

# Mean squared error after 120 steps, of a variance of 1. It is 0.11 (population) to 0.49 (poisson),
# and without a gradient through the spikes 0.97 to 1.01.
BOUND = 0.7


def error_of(encoder):
    """See :func:`error_after_training`, of a network with this encoder."""
    framed = takes_time(encoder)
    inputs = (4, 3, 1, 1) if framed else 3
    network = tiny(encoder=encoder, bn="vanilla", hidden=[24, 8], readout="linear", inputs=inputs)
    return error_after_training(network, one_after_the_other if framed else lambda x: x)


def one_after_the_other(x):
    """The numbers in four frames: one that stands still does not tell both signs."""
    return torch.stack([x * torch.eye(3)[t % 2] for t in range(4)], 1).flatten(1)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("encoder", names("encoder"))
def test_it_learns(encoder):
    assert error_of(encoder) < BOUND


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("encoder", names("encoder"))
def test_it_does_not_without_a_gradient_through_the_spikes(encoder, monkeypatch):
    monkeypatch.setitem(
        DERIVATIVES, "rectangular", lambda distance, width: torch.zeros_like(distance)
    )
    assert error_of(encoder) > BOUND
