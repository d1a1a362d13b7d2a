# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""Spikes and their gradients, for any neuron."""

import triton
import triton.language as tl


@triton.jit
def spikes_of(v, operands):
    """Return ``1{v > threshold}`` in float32; ``operands`` are threshold and scale of the
    surrogate."""
    return (v > operands[0]).to(tl.float32)


@triton.jit
def through_spike(spike, through_reset):
    """Return the gradient that reaches the membrane of a step through its spikes.

    :param spike: ``dL/ds`` from above, the surrogate's derivative, and whether the reset has a
        gradient
    :param through_reset: what reaches the spikes through the step after
    """
    g, slope, has_reset = spike
    if has_reset:
        g = g + through_reset
    return slope * g
