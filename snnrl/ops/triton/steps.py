# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""One time step of each neuron, forward and backward, on a tile of any shape.

``D`` is a :class:`snnrl.ops.dynamics.Dynamics`, known when a kernel is compiled: only the branch of
its neuron is compiled. State is float32. The association of each expression is that of the naive
operators, so that with floating-point fusion off membranes agree to the last place.
"""

import triton
import triton.language as tl


@triton.jit
def surrogate_derivative(v, D: tl.constexpr):
    """``ds/dv`` at the membrane ``v``; the formulas stand in :mod:`snnrl.ops.surrogate`."""
    distance = v - D.threshold
    if D.surrogate.name == "rectangular":
        derivative = (tl.abs(distance) < D.surrogate.scale).to(tl.float32)
    elif D.surrogate.name == "sigmoid":
        y = tl.sigmoid(distance * D.surrogate.scale)
        derivative = y * D.surrogate.scale * (1 - y)
    elif D.surrogate.name == "tanh":
        # 1 - tanh(z)^2 = 4 p (1 - p) with p = sigmoid(2 z): tanh itself is no core function.
        p = tl.sigmoid(distance * D.surrogate.scale * 2)
        derivative = 4 * p * (1 - p)
    else:
        tl.static_assert(D.surrogate.name == "triangle", "unknown surrogate")
        height = tl.maximum(D.surrogate.scale - tl.abs(distance), 0.0)
        derivative = height / (D.surrogate.scale * D.surrogate.scale)
    return derivative


@triton.jit
def step_forward(x, v, s, i, u, D: tl.constexpr):
    """Membrane, spikes, current and recovery after a step with the input ``x``.

    The equations stand in :mod:`snnrl.ops.lif`, :mod:`snnrl.ops.clif` and
    :mod:`snnrl.ops.dynamic`. A state that the neuron does not have is handed on as it is.
    """
    if D.neuron == "lif":
        v = (v * D.decay) * (1 - s) + x
    elif D.neuron == "clif":
        i = i * D.current_decay + x
        v = (v * D.decay) * (1 - s) + i
    else:
        tl.static_assert(D.neuron == "dn", "unknown neuron")
        i = i * D.current_decay + x
        a = v * (1 - s) + s * D.parameters.tr
        b = u + s * D.parameters.ts
        v = a + (a * a - a - b + i)
        u = b + (a * D.parameters.tv + b * D.parameters.tu)
    s = (v > D.threshold).to(tl.float32)
    return v, s, i, u


@triton.jit
def step_backward(g, v, lv, li, lu, D: tl.constexpr):
    """Adjoints of membrane, current and recovery at a step, and ``dL/dx`` there.

    With ``g = dL/ds[t]``, ``sg`` the surrogate's derivative, ``lv, li, lu`` the adjoints of the
    step after, and R = 0 for a detached reset, else 1:

    - LIF and CLIF. ``v[t]`` reaches the next membrane by ``d (1 - s)``, and the spike by
      ``-d v``: ``lv' = sg (g - R d v lv) + d (1 - s) lv``. LIF: ``dx = lv'``. CLIF:
      ``i[t]`` reaches ``v[t]`` by 1 and ``i[t+1]`` by c, so ``dx = li' = lv' + c li``.
    - DN. With ``a`` and ``b`` of the step after, ``v = a^2 - b + i`` and
      ``u = b + tv a + tu b`` give ``alpha = dL/da = 2 a lv + tv lu`` and
      ``beta = dL/db = -lv + (1 + tu) lu``. ``a = v (1 - s) + tr s`` and ``b = u + ts s`` give
      ``lv' = alpha (1 - s) + sg (g + R (alpha (tr - v) + ts beta))``, ``lu' = beta``;
      ``dx = li' = lv' + c li``.
    """
    s = (v > D.threshold).to(tl.float32)
    if D.neuron == "dn":
        a = v * (1 - s) + s * D.parameters.tr
        alpha = 2 * a * lv + lu * D.parameters.tv
        beta = lu + lu * D.parameters.tu - lv
        kept = alpha * (1 - s)
        through_reset = alpha * (D.parameters.tr - v) + beta * D.parameters.ts
        lu = beta
    else:
        kept = lv * (1 - s) * D.decay
        through_reset = -(lv * v * D.decay)
    through_spike = g if D.detach_reset else g + through_reset
    lv = kept + surrogate_derivative(v, D) * through_spike
    if D.neuron == "lif":
        dx = lv
    else:
        li = lv + li * D.current_decay
        dx = li
    return lv, li, lu, dx
