# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""The step of :func:`snnrl.ops.clif.clif`, forward and backward, of a tile of neurons."""

import triton
import triton.language as tl

from snnrl.ops.triton.spike import through_spike

STATES = 2
"""Membrane, current."""


@triton.jit
def step(x, state, s, c: tl.constexpr):
    """Return the state after a step with the input ``x``; ``s``: spikes of the step before."""
    v, i = state
    i = i * c.current_decay + x
    v = (v * c.decay) * (1 - s) + i
    return v, i


@triton.jit
def step_back(spike, v, s, adjoint, c: tl.constexpr):
    """Return the adjoint of the state, and ``dL/dx``.

    The membrane's is that of :mod:`snnrl.ops.lif.triton_step`. ``i[t]`` reaches ``v[t]`` by 1 and
    ``i[t+1]`` by c, so ``dx = li' = lv' + c li``.
    """
    lv, li = adjoint
    lv = lv * (1 - s) * c.decay + through_spike(spike, -(lv * v * c.decay))
    li = lv + li * c.current_decay
    return (lv, li), li
