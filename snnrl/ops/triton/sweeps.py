# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc, assignment"
"""All time steps of a tile of neurons, forward and backward.

A tile is its ``offsets`` (int64) in the first time step and a ``mask``; ``plane`` is the number of
elements of a time step. ``channel`` is ``None`` for a bare neuron, or (mean, standard deviation,
gamma, beta) of the tile's columns, ``[1, CHANNELS]`` each, for one behind a normalisation.

Where T is unrolled, everything is loaded before anything is stored: a load that might read what
was just stored would wait for it, and so each step for the one before. Offsets grow by a plane at
a time: ``t * plane`` could overflow 32 bits.
"""

import triton
import triton.language as tl

from snnrl.ops.triton import launch
from snnrl.ops.triton.steps import step_backward, step_forward

LONGEST_UNROLLED: tl.constexpr = tl.constexpr(launch.LONGEST_UNROLLED)


@triton.jit
def load(ptr, offsets, mask):
    """In float32, and 0 outside the tensor."""
    return tl.load(ptr + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def load_normalised(x_ptr, offsets, mask, channel):
    """``xhat = (x - mean) / sd``, rounded as division is; for a bare neuron ``x``."""
    xhat = load(x_ptr, offsets, mask)
    if channel is not None:
        xhat = tl.div_rn(xhat - channel[0], channel[1])
    return xhat


@triton.jit
def current(xhat, channel):
    """What drives the neuron: ``xhat gamma + beta``; for a bare neuron ``x``."""
    if channel is not None:
        xhat = xhat * channel[2] + channel[3]
    return xhat


@triton.jit
def spike_train(x_ptr, spikes_ptr, offsets, mask, plane, channel, T: tl.constexpr, D: tl.constexpr):
    """Write the spikes of every time step; the neurons start at rest."""
    v = tl.zeros(offsets.shape, tl.float32)
    s, i, u = v, v, v
    if T <= LONGEST_UNROLLED:
        inputs = ()
        x_offsets = offsets
        for _ in tl.static_range(T):
            inputs = inputs + (load_normalised(x_ptr, x_offsets, mask, channel),)  # noqa: RUF005
            x_offsets += plane
        for t in tl.static_range(T):
            v, s, i, u = step_forward(current(inputs[t], channel), v, s, i, u, D)
            tl.store(spikes_ptr + offsets, s, mask=mask)
            offsets += plane
    else:
        for _ in range(T):
            xhat = load_normalised(x_ptr, offsets, mask, channel)
            v, s, i, u = step_forward(current(xhat, channel), v, s, i, u, D)
            tl.store(spikes_ptr + offsets, s, mask=mask)
            offsets += plane


@triton.jit
def input_gradient(dx_ptr, offsets, mask, delta, xhat, channel, means, sums):
    """Write ``dx`` of a step from the neuron's ``delta``; see :func:`gradient_sweep`."""
    if channel is None:
        tl.store(dx_ptr + offsets, delta, mask=mask)
    else:
        # Outside the tensor a membrane may diverge, and its delta is then not 0 but NaN.
        delta = tl.where(mask, delta, 0.0)
        sums = (sums[0] + delta, sums[1] + delta * xhat)
        if dx_ptr is not None:
            dx = (delta - means[0] - xhat * means[1]) * (channel[2] / channel[1])
            tl.store(dx_ptr + offsets, dx, mask=mask)
    return sums


@triton.jit
def gradient_sweep(
    x_ptr,
    g_ptr,
    dx_ptr,
    membranes_ptr,
    offsets,
    mask,
    plane,
    channel,
    means,
    sums,
    T: tl.constexpr,
    D: tl.constexpr,
):
    """Compute the membranes again from ``x``, then go back in time from ``g = dL/ds``.

    Bare neuron: ``dx = delta``, the neuron's own gradient. Behind a normalisation:
    ``dx = gamma / sd (delta - means[0] - xhat means[1])``, where ``means`` are those of ``delta``
    and ``delta xhat`` over batch and time if the statistics are the batch's, and 0 if they are
    constants; :mod:`snnrl.ops.triton.normalised_backward` derives it.

    :param dx_ptr: ``None`` where only the sums are wanted
    :param membranes_ptr: scratch of the shape of ``x``, float32; ``None`` where T is unrolled
    :param sums: so far, of ``delta`` and ``delta xhat``, each the tile's shape
    :return: ``sums`` with those of this tile added over time; of a bare neuron as they were
    """
    v = tl.zeros(offsets.shape, tl.float32)
    s, i, u = v, v, v
    lv, li, lu = v, v, v
    if T <= LONGEST_UNROLLED:
        inputs, membranes, upstream = (), (), ()
        for t in tl.static_range(T):
            inputs = inputs + (load_normalised(x_ptr, offsets, mask, channel),)  # noqa: RUF005
            upstream = upstream + (load(g_ptr, offsets, mask),)  # noqa: RUF005
            v, s, i, u = step_forward(current(inputs[t], channel), v, s, i, u, D)
            membranes = membranes + (v,)  # noqa: RUF005
            offsets += plane
        for t in tl.static_range(T - 1, -1, -1):
            offsets -= plane
            lv, li, lu, delta = step_backward(upstream[t], membranes[t], lv, li, lu, D)
            sums = input_gradient(dx_ptr, offsets, mask, delta, inputs[t], channel, means, sums)
    else:
        for _ in range(T):
            xhat = load_normalised(x_ptr, offsets, mask, channel)
            v, s, i, u = step_forward(current(xhat, channel), v, s, i, u, D)
            tl.store(membranes_ptr + offsets, v, mask=mask)
            offsets += plane
        # A thread may read what another one wrote.
        tl.debug_barrier()
        for _ in range(T):
            offsets -= plane
            xhat = load_normalised(x_ptr, offsets, mask, channel)
            v = load(membranes_ptr, offsets, mask)
            g = load(g_ptr, offsets, mask)
            lv, li, lu, delta = step_backward(g, v, lv, li, lu, D)
            sums = input_gradient(dx_ptr, offsets, mask, delta, xhat, channel, means, sums)
    return sums
