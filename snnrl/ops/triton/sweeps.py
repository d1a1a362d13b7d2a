# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc, assignment"
"""All time steps of a tile of neurons, forward and backward.

``D`` is a :class:`snnrl.ops.triton.program.Program`, known when a kernel is compiled: only its
neuron's step and its surrogate's derivative are compiled into it. State is float32. The
association of each expression is that of the naive operators, so that with floating-point fusion
off membranes agree to the last place. ``operands`` are the threshold and the surrogate's scale.

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
from snnrl.ops.triton.spike import spikes_of

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
    """Return the neuron's input: ``xhat gamma + beta``; for a bare neuron ``x``."""
    if channel is not None:
        xhat = xhat * channel[2] + channel[3]
    return xhat


@triton.jit
def load_operands(threshold_ptr, scale_ptr):
    """Threshold and scale of the surrogate, in float32."""
    return tl.load(threshold_ptr).to(tl.float32), tl.load(scale_ptr).to(tl.float32)


@triton.jit
def zeros(shape, D: tl.constexpr):
    """A zero for each variable that a time step hands to the next."""
    state = ()
    for _ in tl.static_range(D.states):
        state = state + (tl.zeros(shape, tl.float32),)  # noqa: RUF005
    return state


@triton.jit
def step(x, state, s, operands, D: tl.constexpr):
    """State and spikes after a step with the input ``x``."""
    state = D.step(x, state, s, D.constants)
    return state, spikes_of(state[0], operands)


@triton.jit
def step_back(g, v, adjoint, operands, D: tl.constexpr):
    """Adjoint of the state at a step with the membrane ``v``, and ``dL/dx`` there."""
    spike = (g, D.derivative(v - operands[0], operands[1]), D.has_reset)
    return D.step_back(spike, v, spikes_of(v, operands), adjoint, D.constants)


@triton.jit
def spike_train(
    x_ptr,
    spikes_ptr,
    counts_ptr,
    offsets,
    mask,
    plane,
    channel,
    operands,
    T: tl.constexpr,
    D: tl.constexpr,
):
    """Write the spikes of every time step; the neurons start at rest.

    :param counts_ptr: for the spikes' sum over time; ``None`` where it is not wanted
    """
    first = offsets
    s = tl.zeros(offsets.shape, tl.float32)
    count = s
    state = zeros(offsets.shape, D)
    if T <= LONGEST_UNROLLED:
        inputs = ()
        x_offsets = offsets
        for _ in tl.static_range(T):
            inputs = inputs + (load_normalised(x_ptr, x_offsets, mask, channel),)  # noqa: RUF005
            x_offsets += plane
        for t in tl.static_range(T):
            state, s = step(current(inputs[t], channel), state, s, operands, D)
            tl.store(spikes_ptr + offsets, s, mask=mask)
            count += s
            offsets += plane
    else:
        for _ in range(T):
            xhat = load_normalised(x_ptr, offsets, mask, channel)
            state, s = step(current(xhat, channel), state, s, operands, D)
            tl.store(spikes_ptr + offsets, s, mask=mask)
            count += s
            offsets += plane
    if counts_ptr is not None:
        tl.store(counts_ptr + first, count, mask=mask)


@triton.jit
def upstream(g_ptr, offsets, mask, of_count):
    """``dL/ds`` of a step, from above and through the spikes' sum over time."""
    if g_ptr is None:
        g = of_count
    else:
        g = load(g_ptr, offsets, mask)
        if of_count is not None:
            g += of_count
    return g


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
    g_counts_ptr,
    dx_ptr,
    membranes_ptr,
    offsets,
    mask,
    plane,
    channel,
    means,
    sums,
    operands,
    T: tl.constexpr,
    D: tl.constexpr,
):
    """Compute the membranes again from ``x``, then go back in time from ``g = dL/ds``.

    Bare neuron: ``dx = delta``, the neuron's own gradient. Behind a normalisation:
    ``dx = gamma / sd (delta - means[0] - xhat means[1])``, where ``means`` are those of ``delta``
    and ``delta xhat`` over batch and time if the statistics are the batch's, and 0 if they are
    constants; :mod:`snnrl.ops.triton.normalised_backward` derives it.

    :param g_counts_ptr: gradient of the spikes' sum over time; of this and ``g_ptr`` one may be
        ``None``
    :param dx_ptr: ``None`` where only the sums are wanted
    :param membranes_ptr: scratch of the shape of ``x``, float32; ``None`` where T is unrolled
    :param sums: so far, of ``delta`` and ``delta xhat``, each the tile's shape
    :return: ``sums`` with those of this tile added over time; of a bare neuron as they were
    """
    of_count = None
    if g_counts_ptr is not None:
        of_count = load(g_counts_ptr, offsets, mask)
    s = tl.zeros(offsets.shape, tl.float32)
    state = zeros(offsets.shape, D)
    adjoint = state
    if T <= LONGEST_UNROLLED:
        inputs, membranes, gradients = (), (), ()
        for t in tl.static_range(T):
            inputs = inputs + (load_normalised(x_ptr, offsets, mask, channel),)  # noqa: RUF005
            gradients = gradients + (upstream(g_ptr, offsets, mask, of_count),)  # noqa: RUF005
            state, s = step(current(inputs[t], channel), state, s, operands, D)
            membranes = membranes + (state[0],)  # noqa: RUF005
            offsets += plane
        for t in tl.static_range(T - 1, -1, -1):
            offsets -= plane
            adjoint, delta = step_back(gradients[t], membranes[t], adjoint, operands, D)
            sums = input_gradient(dx_ptr, offsets, mask, delta, inputs[t], channel, means, sums)
    else:
        for _ in range(T):
            xhat = load_normalised(x_ptr, offsets, mask, channel)
            state, s = step(current(xhat, channel), state, s, operands, D)
            tl.store(membranes_ptr + offsets, state[0], mask=mask)
            offsets += plane
        # A thread may read what another one wrote.
        tl.debug_barrier()
        for _ in range(T):
            offsets -= plane
            xhat = load_normalised(x_ptr, offsets, mask, channel)
            v = load(membranes_ptr, offsets, mask)
            g = upstream(g_ptr, offsets, mask, of_count)
            adjoint, delta = step_back(g, v, adjoint, operands, D)
            sums = input_gradient(dx_ptr, offsets, mask, delta, xhat, channel, means, sums)
    return sums
