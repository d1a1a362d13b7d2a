# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""Derivatives that stand for that of the step function, at ``distance = v - threshold``.

The formulas stand in :mod:`snnrl.ops.surrogate.naive`, under the same names.
"""

import triton
import triton.language as tl


@triton.jit
def rectangular(distance, width):
    """``1{|v - th| < w}``."""
    return (tl.abs(distance) < width).to(tl.float32)


@triton.jit
def sigmoid(distance, slope):
    """``k y (1 - y)`` with ``y = sigmoid(k (v - th))``."""
    y = tl.sigmoid(distance * slope)
    return y * slope * (1 - y)


@triton.jit
def tanh(distance, slope):
    """``1 - y^2 = 4 p (1 - p)`` with ``p = sigmoid(2 k (v - th))``: tanh is no core function."""
    p = tl.sigmoid(distance * slope * 2)
    return 4 * p * (1 - p)


@triton.jit
def triangle(distance, width):
    """``max(0, w - |v - th|) / w^2``."""
    return tl.maximum(width - tl.abs(distance), 0.0) / (width * width)


@triton.jit
def atan(distance, slope):
    """``k / 2 / (1 + (pi/2 k (v - th))^2)``."""
    x = slope * distance * 1.5707963267948966
    return slope / 2 * (1 / (1 + x * x))


@triton.jit
def fast_sigmoid(distance, slope):
    """``1 / (1 + k |v - th|)^2``."""
    y = 1 + slope * tl.abs(distance)
    return 1 / (y * y)


@triton.jit
def learnable(distance, slope):
    """``k / 2 (1 - y^2)`` with ``y = tanh(k (v - th))``."""
    return slope / 2 * tanh(distance, slope)
