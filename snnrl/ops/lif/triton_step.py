# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""The step of :func:`snnrl.ops.lif.lif`, forward and backward, of a tile of neurons."""

import triton
import triton.language as tl

from snnrl.ops.triton.spike import through_spike

STATES = 1
"""Membrane."""


@triton.jit
def step(x, state, s, c: tl.constexpr):
    """Return the state after a step with the input ``x``; ``s``: spikes of the step before."""
    v = (state[0] * c.decay) * (1 - s) + x
    return (v,)


@triton.jit
def step_back(spike, v, s, adjoint, c: tl.constexpr):
    """Return the adjoint of the state, and ``dL/dx``.

    ``v[t]`` reaches the next membrane by ``d (1 - s)``, and the spike by ``-d v``; with ``sg`` the
    surrogate's derivative, ``g = dL/ds`` and R = 0 for a detached reset, else 1,
    ``lv' = sg (g - R d v lv) + d (1 - s) lv``, and ``dx = lv'``.
    """
    lv = adjoint[0]
    lv = lv * (1 - s) * c.decay + through_spike(spike, -(lv * v * c.decay))
    return (lv,), lv
