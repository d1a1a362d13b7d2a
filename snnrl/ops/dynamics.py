"""Descriptions of neurons and of the normalisation before them, for the fused kernels."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from torch import Tensor

from snnrl.ops.surrogate import DERIVATIVES, Surrogate

OPERATORS = Path(__file__).parent
STEP_FILES = ("step.hpp", "triton_step.py")

FUSED_NEURONS = tuple(
    sorted(
        folder.name
        for folder in OPERATORS.iterdir()
        if all((folder / name).exists() for name in STEP_FILES)
    )
)
"""Neurons that the fused kernels support; each has a folder with its step."""

NAIVE: dict[str, Callable[..., tuple[Tensor, Any]]] = {
    neuron: getattr(import_module(f"snnrl.ops.{neuron}"), neuron) for neuron in FUSED_NEURONS
}
"""Their specifications: the function with the name of its folder."""

CONSTANTS: dict[str, Callable[..., tuple[float, ...]]] = {
    neuron: get_type_hints(operator)["constants"] for neuron, operator in NAIVE.items()
}
"""Class of their constants, as in the specification."""

FUSED_SURROGATES = tuple(DERIVATIVES)
"""Surrogates that the fused kernels support."""


class Dynamics(NamedTuple):
    """One kind of neuron, whose equations are in the docstring of its naive operator.

    Threshold and scale of the surrogate are operands of a kernel: numbers, or float32 tensors
    without dimensions on the kernel's device, whose value may change between calls. They get no
    gradients from fused kernels, and must keep their values until the gradients of a call are
    computed. ``native`` alone takes what learns, and computes its gradient: scales of each time
    step, ``[T]``, of the surrogate ``learnable``, and constants of ``lif``, without dimensions.

    :param neuron: one of :data:`FUSED_NEURONS`
    :param threshold: firing threshold; a spike is ``v > threshold``
    :param surrogate: derivative that stands for that of the step function
    :param detach_reset: no gradient through the reset
    :param constants: those of this neuron, such as :class:`snnrl.ops.lif.LIFConstants`
    """

    neuron: str
    threshold: float | Tensor
    surrogate: Surrogate
    detach_reset: bool
    constants: tuple[float | Tensor, ...]

    def learns(self) -> bool:
        """Whether constants or scales are tensors that may get gradients."""
        scale = self.surrogate.scale
        per_step = isinstance(scale, Tensor) and scale.dim() > 0
        return per_step or any(isinstance(each, Tensor) for each in self.constants)


class FusedLayer(NamedTuple):
    """``y = (x - mean) / sqrt(var + eps) * gamma + beta`` per feature, then neurons, from rest.

    :param statistics: mean and variance ``[N]`` to take as constants; ``None``: those of x over
        time and batch (biased variance), through which gradients flow
    :param gamma, beta: ``[N]``
    :param eps: added to the variance
    :param dynamics: of the neurons
    :param per_step: whether the batch's statistics are of each time step, ``[T, N]``, and not
        pooled over time; statistics that are given, gamma and beta may then be ``[T, N]`` too
        (``native`` alone)
    :param renormalises: whether gradients are those of the batch's statistics, times ``sqrt(var +
        eps)`` of the batch by that of the statistics that are given (``native`` alone)
    """

    statistics: tuple[Tensor, Tensor] | None
    gamma: Tensor
    beta: Tensor
    eps: float
    dynamics: Dynamics
    per_step: bool = False
    renormalises: bool = False


def run(x: Tensor, dynamics: Dynamics, state: Any = None) -> tuple[Tensor, Any]:
    """Call the naive operator of a neuron.

    :param x: ``[T, B, ...]``
    :param state: after the step before; ``None``: at rest
    :return: spikes ``[T, B, ...]`` and the state after the last step
    """
    neuron, threshold, surrogate, detach_reset, constants = dynamics
    return NAIVE[neuron](x, state, constants, threshold, surrogate, detach_reset)
