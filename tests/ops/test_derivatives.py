"""Each surrogate's derivative is that of its smooth step, by finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snnrl.ops.surrogate import DERIVATIVES

from .triton.helpers import SCALES


def _triangle(x: Tensor, w: float) -> Tensor:
    x = x.clamp(-w, w)
    return x / w - x * x.abs() / (2 * w * w)


SMOOTH_STEPS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "rectangular": lambda x, w: x.clamp(-w, w),
    "sigmoid": lambda x, k: torch.sigmoid(k * x),
    "tanh": lambda x, k: torch.tanh(k * x) / k,
    "triangle": _triangle,
    "atan": lambda x, k: torch.atan(math.pi / 2 * k * x) / math.pi,
    "fast_sigmoid": lambda x, k: x / (1 + k * x.abs()),
    "learnable": lambda x, k: torch.tanh(k * x) / 2,
}


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("name", DERIVATIVES)
def test_the_derivative_of_the_smooth_step(name: str, factor: float) -> None:
    scale, h = SCALES[name] * factor, 1e-6
    # No point is at a corner, of which a difference says nothing.
    x = torch.linspace(-3, 3, 1000, dtype=torch.float64)
    above, below = (SMOOTH_STEPS[name](x + shift, scale) for shift in (h, -h))
    found = DERIVATIVES[name](x, scale)
    torch.testing.assert_close(found, (above - below) / (2 * h), rtol=1e-6, atol=1e-8)
    assert found.max() > 0.2
