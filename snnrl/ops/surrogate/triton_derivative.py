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
