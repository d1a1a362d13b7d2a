"""The circulate-firing neuron."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from snnrl.nn.neurons.base import Neuron
from snnrl.nn.registry import register
from snnrl.nn.surrogates import Surrogate
from snnrl.ops import circulate_firing as ops
from snnrl.ops.circulate_firing import CirculateFiringState
from snnrl.parameters import Above, AtLeast, Between


class Rounds(Surrogate):
    """Firing in rounds, with spikes of either sign: :func:`snnrl.ops.circulate_firing.\
fire_in_rounds`.

    It stands around the surrogate, so that one call makes the output of a time step: a
    normalisation of membrane potentials comes once before it, and traces see one potential a step.

    :param surrogate: makes the spikes of each round
    :param rounds: K
    :param signed: whether spikes can be negative
    :param rho: potential that a spike takes, in thresholds
    :param detach_reset: whether no gradient flows through what a spike takes
    """

    def __init__(
        self, surrogate: Surrogate, rounds: int, signed: bool, rho: float, detach_reset: bool
    ):
        super().__init__(surrogate.shape)
        self.surrogate = surrogate
        self.rounds = rounds
        self.signed = signed
        self.rho = rho
        self.detach_reset = detach_reset

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"rounds={self.rounds}, signed={self.signed}, rho={self.rho:g}"

    def forward(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        own = (self.rounds, self.signed, self.rho, self.detach_reset)
        return ops.fire_in_rounds(membrane, threshold, step, self.surrogate, *own)


@register("neuron", "circulate_firing")
class CirculateFiring(Neuron):
    """Fires up to K times in each step, with spikes of either sign:
    :func:`snnrl.ops.circulate_firing.circulate_firing`.

    A reconstruction from the abstract of arXiv 2605.27412: the order of rounds and reset, and the
    values of K and rho, are our choice.

    :param decay: share of the membrane potential kept in a step
    :param K: rounds of firing in a step
    :param signed: whether a potential below minus the threshold causes a spike of -1
    :param rho: potential that a spike takes, in thresholds
    """

    def __init__(
        self,
        *,
        decay: Annotated[float, Between(0, 1)] = 0.75,
        K: Annotated[int, AtLeast(1)] = 2,
        signed: bool = True,
        rho: Annotated[float, Above(0, maximum=1)] = 1.0,
        surrogate: Surrogate,
        detach_reset: bool = False,
        **shared: Any,
    ):
        rounds = Rounds(surrogate, K, signed, rho, detach_reset)
        super().__init__(surrogate=rounds, detach_reset=detach_reset, **shared)
        self.decay = decay
        self.rho = rho
        self.signed = signed
        self.binary = K == 1 and not signed

    def forward(
        self, x: Tensor, state: CirculateFiringState | None = None
    ) -> tuple[Tensor, CirculateFiringState]:
        threshold = self.threshold.level()
        constants = ops.CirculateFiringConstants(self.decay, self.rho)
        return ops.circulate_firing(
            x, state, constants, threshold, self.surrogate, self.detach_reset
        )

    def fired(self, outputs: Tensor) -> Tensor:
        return outputs if self.binary else ops.fired(outputs, self.signed)
