# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""Population decoding: weighted mean firing rates of the P neurons of each output."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from snnrl.ops.triton.sweeps import load

TILE = 1024
"""Neurons of a tile."""


@triton.jit
def decode_kernel(
    counts_ptr,
    weight_ptr,
    bias_ptr,
    values_ptr,
    steps,
    A,
    P,
    outputs,
    OUTPUTS: tl.constexpr,
    NEURONS: tl.constexpr,
):
    """``value = sum_p (n_p / T) w_p + b`` of a tile of outputs."""
    output = tl.program_id(0).to(tl.int64) * OUTPUTS + tl.arange(0, OUTPUTS)
    neuron = tl.arange(0, NEURONS)[None, :]
    mask = (output < outputs)[:, None] & (neuron < P)
    rate = tl.div_rn(load(counts_ptr, output[:, None] * P + neuron, mask), steps)
    weight = load(weight_ptr, (output % A)[:, None] * P + neuron, mask)
    bias = load(bias_ptr, output % A, output < outputs)
    tl.store(values_ptr + output, tl.sum(rate * weight, axis=1) + bias, mask=output < outputs)


@triton.jit
def decode_backward_kernel(
    g_ptr,
    counts_ptr,
    weight_ptr,
    dcounts_ptr,
    dweight_ptr,
    dbias_ptr,
    steps,
    B,
    A,
    P,
    ROWS: tl.constexpr,
    NEURONS: tl.constexpr,
):
    """``dL/dn = g w / T``, ``dL/dw = sum_b g n / T``, ``dL/db = sum_b g``; a program owns all rows
    of an output."""
    output = tl.program_id(0)
    neuron = tl.arange(0, NEURONS)[None, :]
    weight = load(weight_ptr, output * P + neuron, neuron < P)
    dweight = tl.zeros((ROWS, NEURONS), tl.float32)
    dbias = tl.zeros((ROWS, 1), tl.float32)
    for first in range(0, B, ROWS):
        row = first + tl.arange(0, ROWS)[:, None]
        mask = (row < B) & (neuron < P)
        place = row.to(tl.int64) * A + output
        g = load(g_ptr, place, row < B)
        rate = tl.div_rn(load(counts_ptr, place * P + neuron, mask), steps)
        tl.store(dcounts_ptr + place * P + neuron, tl.div_rn(g * weight, steps), mask=mask)
        dweight += g * rate
        dbias += g
    at = output * P + neuron
    tl.store(dweight_ptr + at, tl.sum(dweight, axis=0)[None, :], mask=neuron < P)
    tl.store(dbias_ptr + output, tl.sum(dbias))


def decode_forward(counts: Tensor, weight: Tensor, bias: Tensor, time_steps: int) -> Tensor:
    """Values ``[B, A]`` of spikes over time ``counts[B, A * P]``; weight ``[A, P]``."""
    counts, (outputs, population) = counts.contiguous(), weight.shape
    dtype = torch.promote_types(counts.dtype, weight.dtype)
    values = counts.new_empty((len(counts), outputs), dtype=dtype)
    neurons = triton.next_power_of_2(population)
    tile = max(TILE // neurons, 1)
    decode_kernel[(triton.cdiv(values.numel(), tile),)](
        counts,
        weight.contiguous(),
        bias.contiguous(),
        values,
        float(time_steps),
        outputs,
        population,
        values.numel(),
        tile,
        neurons,
        enable_fp_fusion=False,
    )
    return values


def decode_backward(
    g: Tensor, counts: Tensor, weight: Tensor, time_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """``dL/dcounts[B, A * P]``, ``dL/dweight[A, P]`` and ``dL/dbias[A]`` from ``g[B, A]``."""
    counts, weight = counts.contiguous(), weight.contiguous()
    outputs, population = weight.shape
    dcounts, dweight = torch.empty_like(counts), torch.empty_like(weight)
    dbias = weight.new_empty(outputs)
    neurons = triton.next_power_of_2(population)
    decode_backward_kernel[(outputs,)](
        g.contiguous(),
        counts,
        weight,
        dcounts,
        dweight,
        dbias,
        float(time_steps),
        len(counts),
        outputs,
        population,
        max(TILE // neurons, 1),
        neurons,
        enable_fp_fusion=False,
    )
    return dcounts, dweight, dbias
