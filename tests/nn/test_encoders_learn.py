"""Every encoder: what it encodes can be learned, through the spikes behind it."""

import pytest
import torch

from snnrl.nn.encoders import takes_time
from snnrl.nn.registry import names
from snnrl.ops.surrogate import DERIVATIVES
from tests.nn.networks import tiny

# Mean squared error after 120 steps, of a variance of 1. It is 0.11 (population) to 0.49 (poisson),
# and without a gradient through the spikes 0.97 to 1.01.
BOUND = 0.7


def error_after_training(encoder):
    """Of the product of two signs, which no sum of functions of one number describes."""
    framed = takes_time(encoder)
    inputs = (4, 3, 1, 1) if framed else 3
    network = tiny(encoder=encoder, bn="vanilla", hidden=[24, 8], readout="linear", inputs=inputs)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(120):
        x = torch.randn(64, 3, generator=generator)
        target = (x[:, :1] * x[:, 1:2]).sign()
        # The signs arrive one after the other: a step that stands still tells neither both.
        shown = torch.stack([x * torch.eye(3)[t % 2] for t in range(4)], 1).flatten(1)
        loss = ((network(shown if framed else x)[:, :1] - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    return sum(errors[-10:]) / 10


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("encoder", names("encoder"))
def test_it_learns(encoder):
    assert error_after_training(encoder) < BOUND


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("encoder", names("encoder"))
def test_it_does_not_without_a_gradient_through_the_spikes(encoder, monkeypatch):
    monkeypatch.setitem(
        DERIVATIVES, "rectangular", lambda distance, width: torch.zeros_like(distance)
    )
    assert error_after_training(encoder) > BOUND
