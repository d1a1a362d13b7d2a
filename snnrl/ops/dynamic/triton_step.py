# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""The step of :func:`snnrl.ops.dynamic.dynamic`, forward and backward, of a tile of neurons."""

import triton
import triton.language as tl

from snnrl.ops.triton.spike import through_spike

STATES = 3
"""Membrane, current, recovery."""


@triton.jit
def step(x, state, s, c: tl.constexpr):
    """Return the state after a step with the input ``x``; ``s``: spikes of the step before."""
    v, i, u = state
    i = i * c.current_decay + x
    a = v * (1 - s) + s * c.tr
    b = u + s * c.ts
    v = a + (a * a - a - b + i)
    u = b + (a * c.tv + b * c.tu)
    return v, i, u


@triton.jit
def step_back(spike, v, s, adjoint, c: tl.constexpr):
    """Return the adjoint of the state, and ``dL/dx``.

    With ``a`` and ``b`` of the step after, ``v = a^2 - b + i`` and ``u = b + tv a + tu b`` give
    ``alpha = dL/da = 2 a lv + tv lu`` and ``beta = dL/db = -lv + (1 + tu) lu``.
    ``a = v (1 - s) + tr s`` and ``b = u + ts s`` give, with ``sg`` the surrogate's derivative,
    ``g = dL/ds`` and R = 0 for a detached reset, else 1,
    ``lv' = alpha (1 - s) + sg (g + R (alpha (tr - v) + ts beta))`` and ``lu' = beta``;
    ``dx = li' = lv' + c li``.
    """
    lv, li, lu = adjoint
    a = v * (1 - s) + s * c.tr
    alpha = 2 * a * lv + lu * c.tv
    beta = lu + lu * c.tu - lv
    lv = alpha * (1 - s) + through_spike(spike, alpha * (c.tr - v) + beta * c.ts)
    li = lv + li * c.current_decay
    return (lv, li, beta), li
