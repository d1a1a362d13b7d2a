# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""The confidence-adaptive update of the moving statistics of several layers, in one launch."""

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from snnrl.ops.triton.sweeps import load

BLOCK = 1024
"""Features that the program of a layer handles at a time."""

MOST_LAYERS = 16
"""Layers of a launch: a kernel's arguments must fit into 4 KB."""

BATCH = 2
"""Tensors of a layer that only are read: mean and variance of its batch."""


@triton.jit
def weight_of(prior, observation):
    """``P / (P + R)``, 0 where both are."""
    total = prior + observation
    return tl.where(total > 0, tl.div_rn(prior, total), 0.0)


@triton.jit
def above_zero(x):
    """``max(x, 0)``, NaN where x is."""
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def move(
    pointers, batch, observation, started, offsets, mask, follow, noise, VARIANT: tl.constexpr
):
    """Move one statistic, mean or variance, whose observation variance is R.

    :param pointers: to the moving statistic, G and K, and of the kalman variant P
    :param follow: ``1 - q``
    """
    moving = load(pointers[0], offsets, mask)
    delta = batch - moving
    square = delta * delta
    smoothed = load(pointers[1], offsets, mask)
    # As torch's lerp, which goes from the nearer end.
    distance = square - smoothed
    smoothed = tl.where(
        follow < 0.5, smoothed + follow * distance, square - distance * (1 - follow)
    )
    if VARIANT == "kalman":
        posterior = load(pointers[3], offsets, mask)
        if noise is None:
            drift = above_zero(smoothed - observation - posterior)
        else:
            drift = noise * observation
        gain = tl.where(started, weight_of(posterior + drift, observation), 1.0)
        tl.store(pointers[3] + offsets, gain * observation, mask=mask)
    elif VARIANT == "corrected":
        gain = weight_of(above_zero(smoothed - observation), observation)
    else:
        gain = weight_of(smoothed, observation)
    tl.store(pointers[1] + offsets, smoothed, mask=mask)
    tl.store(pointers[2] + offsets, gain, mask=mask)
    tl.store(pointers[0] + offsets, moving + gain * delta, mask=mask)


@triton.jit
def confidence_kernel(layers, sizes, follow, n, noise, VARIANT: tl.constexpr, BLOCK: tl.constexpr):
    """``delta = batch - moving``; ``G = q G + (1 - q) delta^2``; ``K = P / (P + R)``;
    ``moving += K delta``, with ``R_mean = var / n`` and ``R_var = 2 var^2 / n``.

    A program owns a layer, so that it alone reads and sets whether there was a batch before.

    :param layers: pointers of each layer, in the order of :class:`MovedLayer
        <snnrl.ops.confidence.MovedLayer>`
    :param sizes: features of each
    """
    for i in tl.static_range(len(sizes)):
        if tl.program_id(0) == i:
            p = layers[i]
            started = True
            posteriors = (p[0], p[0])
            if VARIANT == "kalman":
                posteriors = (p[6], p[7])
                started = tl.load(p[8]) != 0
            for first in range(0, sizes[i], BLOCK):
                offsets = first + tl.arange(0, BLOCK)
                mask = offsets < sizes[i]
                mean = load(p[len(p) - 2], offsets, mask)
                var = load(p[len(p) - 1], offsets, mask)
                of_mean = tl.div_rn(var, n)
                of_var = tl.div_rn(2 * var * var, n)
                pointers = (p[0], p[2], p[4], posteriors[0])
                move(pointers, mean, of_mean, started, offsets, mask, follow, noise, VARIANT)
                pointers = (p[1], p[3], p[5], posteriors[1])
                move(pointers, var, of_var, started, offsets, mask, follow, noise, VARIANT)
            if VARIANT == "kalman":
                tl.store(p[8], True)


def move_statistics(
    changed: Sequence[Tensor],
    batch: Sequence[Tensor],
    variant: str,
    smoothing: float,
    n: float,
    process_noise: float | None,
) -> None:
    """Move the statistics of all layers by one rule, in place.

    :param changed: ``MovedLayer.changed()`` of each layer in turn, contiguous
    :param batch: mean and variance of the batch of each layer in turn
    """
    width = len(changed) * BATCH // len(batch)
    batch = [value.contiguous() for value in batch]
    layers = [
        (*changed[width * i : width * (i + 1)], *batch[BATCH * i : BATCH * (i + 1)])
        for i in range(len(batch) // BATCH)
    ]
    for first in range(0, len(layers), MOST_LAYERS):
        some = tuple(layers[first : first + MOST_LAYERS])
        confidence_kernel[(len(some),)](
            some,
            tuple(layer[0].numel() for layer in some),
            1 - smoothing,
            float(n),
            process_noise,
            variant,
            BLOCK,
            enable_fp_fusion=False,
        )
