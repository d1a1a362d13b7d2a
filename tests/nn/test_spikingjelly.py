"""Normalisations against SpikingJelly's own layers, where it is installed (2.0.0)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from .parts import make_norm

layers: Any = pytest.importorskip("spikingjelly.activation_based.layer")

STEPS, FEATURES = 4, 3


def tdbn() -> Any:
    return layers.ThresholdDependentBatchNorm2d(1.0, 0.5, FEATURES)


def tebn() -> Any:
    return layers.TemporalEffectiveBatchNorm2d(STEPS, FEATURES)


def bntt() -> Any:
    return layers.BatchNormThroughTime2d(STEPS, FEATURES, eps=1e-4, step_mode="m")


def common(theirs: Any, name: str) -> dict[str, Tensor]:
    """Return their parameters by our names."""
    if name == "bntt":
        return {"gamma": torch.stack([bn.weight for bn in theirs.bn_list])}
    found = {"gamma": theirs.weight, "beta": theirs.bias}
    return found | ({"p": theirs.scale} if name == "tebn" else {})


@pytest.mark.parametrize("make", [tdbn, tebn, bntt])
def test_values_gradients_and_inference(make: Any) -> None:
    name = make.__name__
    theirs, ours = make(), make_norm(name, FEATURES, steps=STEPS)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for own, value in common(theirs, name).items():
            ours.get_parameter(own).copy_(value.reshape(ours.get_parameter(own).shape))
    for _ in range(3):
        x = torch.randn(STEPS, 6, FEATURES, 5, 4, generator=generator) * 2 + 1
        upstream = torch.randn(x.shape, generator=generator)
        values, gradients = [], []
        for layer in (theirs, ours):
            leaf = x.clone().requires_grad_()
            if hasattr(layer, "reset"):
                layer.reset()  # It counts the time steps.
            values.append(layer(leaf))
            gradients.append(torch.autograd.grad(values[-1], leaf, upstream)[0])
        torch.testing.assert_close(*values)
        torch.testing.assert_close(*gradients)
    theirs.eval(), ours.eval()
    # They keep unbiased variances.
    n = 6 * 5 * 4 * (1 if name == "bntt" else STEPS)
    left = 0.9**3
    ours.moving_var.copy_(left + (ours.moving_var - left) * n / (n - 1))
    if hasattr(theirs, "reset"):
        theirs.reset()
    torch.testing.assert_close(ours(x), theirs(x))
