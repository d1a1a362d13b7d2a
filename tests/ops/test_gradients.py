"""Gradients of the neurons against their formulas, written out by hand in double precision.

``delta, lam, lv, lu`` are adjoints; R is 1 where the reset has a gradient and 0 where it is
detached. These loops share nothing with the operators but the constants.
"""

import pytest
import torch

from snnrl.ops.clif import CLIFConstants, clif
from snnrl.ops.dynamic import DynamicConstants, dynamic
from snnrl.ops.lif import LIFConstants, lif
from snnrl.ops.surrogate import Surrogate

DECAY, CURRENT_DECAY, THRESHOLD, WIDTH = 0.75, 0.5, 0.5, 0.5
CONSTANTS = DynamicConstants(CURRENT_DECAY, tv=-0.172, tu=0.529, tr=0.021, ts=0.132)
RECTANGULAR = Surrogate("rectangular", WIDTH)
T, B, N = 6, 4, 32


def membrane_adjoints(v, s, g, reset):
    """``delta[t]`` of a neuron with a hard reset to zero and a leak."""
    surrogate = ((v - THRESHOLD).abs() < WIDTH).double()
    deltas, delta = [], torch.zeros_like(v[0])
    for t in reversed(range(T)):
        through_spike = surrogate[t] * (g[t] - reset * DECAY * v[t] * delta)
        delta = through_spike + DECAY * (1 - s[t]) * delta
        deltas.append(delta)
    return torch.stack(deltas[::-1])


def lif_gradient(v, s, g, reset):
    return membrane_adjoints(v, s, g, reset)


def clif_gradient(v, s, g, reset):
    lams, lam = [], torch.zeros_like(v[0])
    for delta in membrane_adjoints(v, s, g, reset).flip(0):
        lam = delta + CURRENT_DECAY * lam
        lams.append(lam)
    return torch.stack(lams[::-1])


def dynamic_gradient(v, s, g, reset):
    _, tv, tu, tr, ts = CONSTANTS
    surrogate = ((v - THRESHOLD).abs() < WIDTH).double()
    gradients = []
    lv = lu = li = torch.zeros_like(v[0])
    for t in reversed(range(T)):
        a = torch.where(s[t] > 0, tr, v[t])
        alpha = 2 * a * lv + tv * lu
        beta = -lv + (1 + tu) * lu
        ls = g[t] + reset * (alpha * (tr - v[t]) + ts * beta)
        lv = alpha * (1 - s[t]) + surrogate[t] * ls
        lu = beta
        li = lv + CURRENT_DECAY * li
        gradients.append(li)
    return torch.stack(gradients[::-1])


def run(name, x, detach_reset, state=None):
    shared = (THRESHOLD, RECTANGULAR, detach_reset)
    if name == "lif":
        return lif(x, state, LIFConstants(DECAY), *shared)
    if name == "clif":
        return clif(x, state, CLIFConstants(CURRENT_DECAY, DECAY), *shared)
    return dynamic(x, state, CONSTANTS, *shared)


FORMULAS = {"lif": lif_gradient, "clif": clif_gradient, "dn": dynamic_gradient}


def gradient_and_trace(name, detach_reset):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(T, B, N, dtype=torch.float64, generator=generator) * 0.6 + 0.2
    g = torch.randn(T, B, N, dtype=torch.float64, generator=generator)
    x.requires_grad_()
    spikes, _ = run(name, x, detach_reset)
    spikes.backward(g)
    membranes, state = [], None
    for t in range(T):
        _, state = run(name, x.detach()[t : t + 1], detach_reset, state)
        membranes.append(state.membrane)
    return x.grad, torch.stack(membranes), spikes.detach(), g


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("detach_reset", [False, True])
def test_gradient_is_that_of_the_formula(name, detach_reset):
    gradient, v, s, g = gradient_and_trace(name, detach_reset)
    assert 0.1 < s.mean() < 0.9
    expected = FORMULAS[name](v, s, g, 0.0 if detach_reset else 1.0)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_detaching_the_reset_changes_the_gradient_and_not_the_spikes(name):
    full, _, spikes, _ = gradient_and_trace(name, False)
    detached, _, same_spikes, _ = gradient_and_trace(name, True)
    assert torch.equal(spikes, same_spikes)
    assert not torch.allclose(full, detached)
    # Nothing comes after the last step, so nothing is reset behind it.
    assert torch.equal(full[-1], detached[-1])
