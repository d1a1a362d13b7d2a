"""What networks of the tests learn, and wrong gradients with which they must not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from snnrl.ops.surrogate import DERIVATIVES

# Mean squared error of :func:`error_after_training`, of a variance of 1.
BOUND = 0.45


def error_after_training(
    network: nn.Module, show: Callable[[Tensor], Tensor] = lambda x: x
) -> float:
    """Mean squared error after 120 steps, of the product of two signs, which no sum of functions of
    one number describes.

    :param show: what the network sees of three numbers, ``[B, 3]``
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(120):
        x = torch.randn(64, 3, generator=generator)
        target = (x[:, :1] * x[:, 1:2]).sign()
        loss = ((network(show(x))[:, :1] - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    return sum(errors[-10:]) / 10


def scale_gradient(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Multiply the gradient through spikes, of the rectangular surrogate."""
    monkeypatch.setitem(
        DERIVATIVES, "rectangular", lambda d, width: factor * (d.abs() < width).to(d.dtype)
    )
