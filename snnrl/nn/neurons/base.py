"""Base class of the neurons."""

from __future__ import annotations

from copy import copy
from typing import Any, ClassVar

from torch import Tensor, nn

from snnrl.nn.answers import answers
from snnrl.nn.registry import Spec, build, split_spec
from snnrl.nn.shape import LayerShape
from snnrl.nn.surrogates import Surrogate
from snnrl.nn.surrogates.fixed import Rectangular
from snnrl.nn.threshold import Threshold
from snnrl.ops.dynamics import Dynamics
from snnrl.parameters import parameters_of


class Neuron(nn.Module):
    """A layer of neurons: ``forward(x[T, B, N, ...], state=None) -> (spikes, state)``.

    Outputs are spikes of 0 or 1 unless ``binary`` is false; a neuron with others has a ``fired`` of
    its own.

    The state is an argument and a return value, never kept: ``None`` is a neuron at rest. Spikes
    come from ``self.surrogate(membrane, self.threshold.level(), step)``, where traces look.

    :param shape: of the layer
    :param threshold: firing threshold; a spike is ``v > threshold``
    :param surrogate: makes spikes of membrane potentials
    :param detach_reset: whether no gradient flows through the reset
    """

    binary: bool = True
    """Whether its outputs are 0 or 1."""

    unfused: ClassVar[str] = "it has no fused operator"
    """Why there is no fused operator for it, if there is none."""

    def __init__(
        self,
        shape: LayerShape,
        threshold: Threshold,
        surrogate: Surrogate,
        detach_reset: bool = False,
    ):
        super().__init__()
        self.shape = shape
        self.threshold = threshold
        self.surrogate = surrogate
        self.detach_reset = detach_reset

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        own = [f"{key}={value:g}" for key, value in self._constants().items()]
        return ", ".join([*own, *(["detach_reset=True"] if self.detach_reset else [])])

    def _constants(self) -> dict[str, float]:
        """Return the constants of this kind of neuron, by name."""
        return {key: value for key, value in vars(self).items() if isinstance(value, float)}

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return spikes ``[T, B, N, ...]`` and the state after the last step.

        :param x: currents ``[T, B, N, ...]``
        :param state: after the step before, ``None``: at rest
        """
        raise NotImplementedError

    def constants(self) -> Dynamics | None:
        """Return the dynamics for the fused operators; ``None`` if they do not support this
        neuron."""
        return None

    def known(self) -> Dynamics | None:
        """Return :meth:`constants` if they still describe :meth:`forward`.

        Fused operators take and make spikes of 0 or 1 alone.
        """
        return self.constants() if self.binary and answers(self, "constants") else None

    def dynamics(self) -> Dynamics | None:
        """Return :meth:`known` with another surrogate: spikes do not depend on it."""
        plain = copy(self)
        plain._modules = {**self._modules, "surrogate": Rectangular(self.shape)}
        return plain.known()

    def why_not_fused(self) -> str | None:
        """Return why fused operators do not support this neuron; ``None``: they do."""
        if self.known() is not None:
            return None
        reason = self.unfused
        if not self.binary:
            reason = "its outputs are not 0 or 1, and fused products add weights where one is 1"
        elif (
            type(self).constants is not Neuron.constants
            and self.surrogate.known(self.threshold.level()) is None
        ):
            return f"{type(self.surrogate).__name__} has no fused operator"
        return f"{type(self).__name__}: {reason}"

    def fired(self, outputs: Tensor) -> Tensor:
        """Return 1 where the neurons fired and 0 elsewhere, with gradients, for firing rates.

        :param outputs: of :meth:`forward`, ``[T, B, N, ...]``
        """
        return outputs

    def _dynamics(self, operator: str, constants: tuple[float | Tensor, ...]) -> Dynamics | None:
        threshold = self.threshold.level()
        surrogate = self.surrogate.known(threshold)
        if surrogate is None:
            return None
        return Dynamics(operator, threshold, surrogate, self.detach_reset, constants)


def make_neuron(
    spec: Spec, surrogate: Spec, shape: LayerShape, *, regulated: bool = False
) -> Neuron:
    """Make the neurons of a layer.

    :param spec: name, class, or a mapping with parameters; ``threshold`` is one of every neuron
    :param surrogate: name, class, or a mapping with parameters
    :param regulated: whether a regulation moves the threshold
    :raises UserError: unknown name or parameter, another type or a value out of bounds
    """
    name, parameters = split_spec(spec, "neuron")
    own = parameters_of(Threshold)["threshold"]
    value = parameters.pop("threshold", own.default)
    own.check("neuron.threshold", value)
    neuron: Neuron = build(
        "neuron",
        {"name": name, **parameters},
        shape=shape,
        threshold=Threshold(value, regulated),
        surrogate=build("surrogate", surrogate, shape=shape),
    )
    return neuron
