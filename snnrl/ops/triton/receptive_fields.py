# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""Population coding by Gaussian receptive fields: from observations to spikes, in one pass.

``a = exp(-(o - mean)^2 / (2 std^2))``, which drives the neuron as in
:mod:`snnrl.ops.triton.coding`. The drive is never in memory: backward computes it again.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from snnrl.ops.triton.coding import BLOCK, drive_gradient, integrate
from snnrl.ops.triton.sweeps import load

OWNED_NEURONS = 8
"""Neurons whose parameters a program of the gradient owns: few, so that there are many programs."""

OWNED_ROWS = 128
"""Observations of a tile of such a program."""


@triton.jit
def field(seen, mean_ptr, std_ptr, neurons, mask):
    """Distance ``o - mean``, deviation and activation of each neuron's receptive field.

    :param mask: of ``neurons``, and of its shape
    """
    distance = seen - load(mean_ptr, neurons, mask)
    std = tl.load(std_ptr + neurons, mask=mask, other=1.0).to(tl.float32)
    return distance, std, tl.exp(tl.div_rn(-(distance * distance), 2 * (std * std)))


@triton.jit
def fields_kernel(
    seen_ptr,
    mean_ptr,
    std_ptr,
    spikes_ptr,
    threshold,
    K,
    P,
    plane,
    T: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Spikes of ``K`` neurons, ``P`` for each number of an observation."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < plane
    # K is D * P: so the place of a neuron's observation is its own by P.
    seen = load(seen_ptr, offsets // P, mask)
    _, _, drive = field(seen, mean_ptr, std_ptr, offsets % K, mask)
    integrate(spikes_ptr, drive, offsets, mask, threshold, plane, T)


@triton.jit
def parameters_kernel(
    g_ptr,
    seen_ptr,
    mean_ptr,
    std_ptr,
    dmean_ptr,
    dstd_ptr,
    threshold,
    B,
    K,
    P,
    plane,
    last,
    T: tl.constexpr,
    ROWS: tl.constexpr,
    NEURONS: tl.constexpr,
):
    """``dL/dmean = sum_b h a d / std^2`` and ``dL/dstd = sum_b h a d^2 / std^3``, with
    ``d = o - mean`` and ``h = dL/da``; a program owns all observations of its neurons."""
    neurons = tl.program_id(0) * NEURONS + tl.arange(0, NEURONS)[None, :]
    dmean = tl.zeros((ROWS, NEURONS), tl.float32)
    dstd = tl.zeros((ROWS, NEURONS), tl.float32)
    for first in range(0, B, ROWS):
        rows = first + tl.arange(0, ROWS)[:, None]
        mask = (rows < B) & (neurons < K)
        offsets = rows.to(tl.int64) * K + neurons
        seen = load(seen_ptr, offsets // P, mask)
        distance, std, drive = field(seen, mean_ptr, std_ptr, neurons, neurons < K)
        h = drive_gradient(g_ptr, offsets, mask, threshold, plane, last, T)
        slope = h * drive * tl.div_rn(distance, std * std)
        dmean += slope
        dstd += slope * tl.div_rn(distance, std)
    mask = neurons < K
    tl.store(dmean_ptr + neurons, tl.sum(dmean, axis=0)[None, :], mask=mask)
    tl.store(dstd_ptr + neurons, tl.sum(dstd, axis=0)[None, :], mask=mask)


@triton.jit
def observations_kernel(
    g_ptr,
    seen_ptr,
    mean_ptr,
    std_ptr,
    dseen_ptr,
    threshold,
    K,
    P,
    numbers,
    plane,
    last,
    T: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """``dL/do``, the sum of ``-h a d / std^2`` over the P neurons of each number."""
    places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = places < numbers
    seen = load(seen_ptr, places, mask)
    dseen = tl.zeros((BLOCK,), tl.float32)
    for neuron in range(P):
        offsets = places * P + neuron
        distance, std, drive = field(seen, mean_ptr, std_ptr, offsets % K, mask)
        h = drive_gradient(g_ptr, offsets, mask, threshold, plane, last, T)
        dseen -= h * drive * tl.div_rn(distance, std * std)
    tl.store(dseen_ptr + places, dseen, mask=mask)


def fields_forward(
    seen: Tensor, mean: Tensor, std: Tensor, time_steps: int, threshold: float
) -> Tensor:
    """Spikes ``[T, B, D * P]`` of observations ``seen[B, D]`` and fields ``[D, P]``."""
    seen, neurons = seen.contiguous(), mean.numel()
    dtype = torch.promote_types(seen.dtype, mean.dtype)
    spikes = seen.new_empty((time_steps, len(seen), neurons), dtype=dtype)
    plane = len(seen) * neurons
    fields_kernel[(triton.cdiv(plane, BLOCK),)](
        seen,
        mean.contiguous(),
        std.contiguous(),
        spikes,
        threshold,
        neurons,
        mean.shape[1],
        plane,
        time_steps,
        BLOCK,
        enable_fp_fusion=False,
    )
    return spikes


def fields_backward(
    g: Tensor,
    seen: Tensor,
    mean: Tensor,
    std: Tensor,
    threshold: float,
    of_seen: bool,
    of_fields: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """``dL/dseen[B, D]``, ``dL/dmean`` and ``dL/dstd`` ``[D, P]`` from ``g[T, B, D * P]``.

    :param of_seen, of_fields: compute the gradient of the observations, of mean and std; it is
        empty otherwise
    """
    tensors = tuple(value.contiguous() for value in (g, seen, mean, std))
    (time_steps, batch, neurons), population = g.shape, mean.shape[1]
    sizes, plane = (neurons, population), batch * neurons
    places = (plane, plane * (time_steps - 1), time_steps)
    dseen = seen.new_empty(seen.shape if of_seen else 0)
    dmean, dstd = (field.new_empty(field.shape if of_fields else 0) for field in (mean, std))
    if of_fields:
        parameters_kernel[(triton.cdiv(neurons, OWNED_NEURONS),)](
            *tensors,
            dmean,
            dstd,
            threshold,
            batch,
            *sizes,
            *places,
            OWNED_ROWS,
            OWNED_NEURONS,
            enable_fp_fusion=False,
        )
    if of_seen:
        observations_kernel[(triton.cdiv(seen.numel(), BLOCK),)](
            *tensors,
            dseen,
            threshold,
            *sizes,
            seen.numel(),
            *places,
            BLOCK,
            enable_fp_fusion=False,
        )
    return dseen, dmean, dstd
