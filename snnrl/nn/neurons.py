"""Neuron modules: parameters and a call into :mod:`snnrl.ops`; the equations stand there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from snnrl.nn.registry import build
from snnrl.ops.clif import CLIFConstants, CLIFState, clif
from snnrl.ops.dynamic import DynamicConstants, DynamicState, dynamic
from snnrl.ops.dynamics import FUSED_SURROGATES, Dynamics
from snnrl.ops.lif import LIFConstants, LIFState, lif
from snnrl.ops.surrogate import DERIVATIVES, Surrogate

DEFAULT_SCALES = {"rectangular": 0.5, "sigmoid": 4.0, "tanh": 2.0, "triangle": 0.5}
"""As published. ``sigmoid`` and ``tanh`` are one function at these slopes."""


class Neuron(nn.Module):
    """What every neuron has; ``forward(x[T, B, ...], state=None) -> (spikes, state)``.

    The state is an argument and a return value, never kept: ``None`` is a neuron at rest.

    :param threshold: firing threshold; a spike is ``v > threshold``
    :param surrogate: derivative that stands for that of the step function
    :param detach_reset: no gradient through the reset (the published results: False)
    """

    def __init__(
        self,
        threshold: float = 0.5,
        surrogate: Surrogate | None = None,
        detach_reset: bool = False,
    ):
        super().__init__()
        self.threshold = threshold
        self.surrogate = surrogate or make_surrogate("rectangular")
        self.detach_reset = detach_reset

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        surrogate = f"{self.surrogate.name}({self.surrogate.scale:g})"
        own = [f"{key}={value:g}" for key, value in self._constants().items()]
        reset = ["detach_reset=True"] if self.detach_reset else []
        shared = [f"threshold={self.threshold:g}", f"surrogate={surrogate}"]
        return ", ".join([*shared, *own, *reset])

    def _constants(self) -> dict[str, float]:
        """What this kind of neuron alone has, by name."""
        return {
            key: value
            for key, value in vars(self).items()
            if isinstance(value, float) and key != "threshold"
        }

    def dynamics(self) -> Dynamics | None:
        """What the fused operators need to know; ``None``: they do not know this neuron."""
        return None

    @classmethod
    def has_dynamics(cls) -> bool:
        """Whether the fused operators know this class: not one that computes something else than
        the class whose ``dynamics`` it inherits."""
        owner = {
            name: next((c for c in cls.__mro__ if name in vars(c)), None)
            for name in ("dynamics", "forward")
        }
        return owner["dynamics"] is not Neuron and owner["dynamics"] is owner["forward"]

    def _dynamics(self, neuron: str, constants: tuple[float, ...]) -> Dynamics:
        return Dynamics(neuron, self.threshold, self.surrogate, self.detach_reset, constants)


class LIF(Neuron):
    """Leaky integrate-and-fire: :func:`snnrl.ops.lif.lif`.

    :param decay: share of the membrane potential kept in a step
    """

    def __init__(self, decay: float = 0.75, **shared: Any):
        super().__init__(**shared)
        self.decay = decay

    def forward(self, x: Tensor, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        constants = LIFConstants(self.decay)
        return lif(x, state, constants, self.threshold, self.surrogate, self.detach_reset)

    def dynamics(self) -> Dynamics:
        return self._dynamics("lif", LIFConstants(self.decay))


class CLIF(Neuron):
    """Current-based leaky integrate-and-fire: :func:`snnrl.ops.clif.clif`.

    :param decay: share of the membrane potential kept in a step
    :param current_decay: share of the synaptic current kept in a step
    """

    def __init__(self, decay: float = 0.75, current_decay: float = 0.5, **shared: Any):
        super().__init__(**shared)
        self.decay = decay
        self.current_decay = current_decay

    def forward(self, x: Tensor, state: CLIFState | None = None) -> tuple[Tensor, CLIFState]:
        constants = CLIFConstants(self.current_decay, self.decay)
        return clif(x, state, constants, self.threshold, self.surrogate, self.detach_reset)

    def dynamics(self) -> Dynamics:
        return self._dynamics("clif", CLIFConstants(self.current_decay, self.decay))


class DynamicNeuron(Neuron):
    """Second-order dynamic neuron of MDC-SAN: :func:`snnrl.ops.dynamic.dynamic`.

    :param current_decay, tv, tu, tr, ts: see :class:`snnrl.ops.dynamic.DynamicConstants`
    """

    def __init__(
        self,
        current_decay: float = 0.5,
        tv: float = -0.172,
        tu: float = 0.529,
        tr: float = 0.021,
        ts: float = 0.132,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.current_decay = current_decay
        self.tv, self.tu, self.tr, self.ts = tv, tu, tr, ts

    def forward(self, x: Tensor, state: DynamicState | None = None) -> tuple[Tensor, DynamicState]:
        constants = self._own()
        return dynamic(x, state, constants, self.threshold, self.surrogate, self.detach_reset)

    def dynamics(self) -> Dynamics:
        return self._dynamics("dynamic", self._own())

    def _own(self) -> DynamicConstants:
        return DynamicConstants(self.current_decay, self.tv, self.tu, self.tr, self.ts)


NEURONS: dict[str, type[Neuron]] = {"lif": LIF, "clif": CLIF, "dn": DynamicNeuron}


def has_fused(module: nn.Module) -> bool:
    """Whether the fused operators know these neurons and their surrogate."""
    return (
        isinstance(module, Neuron)
        and module.has_dynamics()
        and module.surrogate.name in FUSED_SURROGATES
    )


def make_surrogate(spec: str | Mapping[str, Any]) -> Surrogate:
    """A surrogate from its name, or from ``dict(name=..., scale=...)``.

    :raises UserError: unknown name
    """

    def surrogate(name: str, scale: float | None = None) -> Surrogate:
        return Surrogate(name, DEFAULT_SCALES[name] if scale is None else scale)

    makers = {name: surrogate for name in DERIVATIVES}
    return build("surrogate", makers, spec, pass_name=True)


def make_neuron(spec: str | Mapping[str, Any], surrogate: str | Mapping[str, Any]) -> Neuron:
    """A neuron from its name, or from ``dict(name=..., **parameters)``.

    :raises UserError: unknown name or parameter
    """
    return build("neuron", NEURONS, spec, surrogate=make_surrogate(surrogate))
