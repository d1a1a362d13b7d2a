"""Base class of the normalisations."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from snnrl.nn.adaptive import Adaptive
from snnrl.nn.answers import answers
from snnrl.nn.shape import LayerShape


class Affine(NamedTuple):
    """A normalisation that a fused operator can compute together with the neurons:
    ``y = (x - mean) / sqrt(var + eps) * gamma + beta`` per feature, or per time step and feature.

    :param statistics: mean and variance, ``[N]`` or ``[T, N]``, to take as constants; ``None``:
        those of x over batch (biased variance), through which gradients flow
    :param gamma, beta: both ``[N]`` or ``[T, N]``
    :param eps: added to the variance
    :param per_step: whether the batch's statistics are of each step, and not pooled over time
    :param renormalises: whether gradients are nevertheless those of the batch's statistics, as
        :class:`snnrl.nn.norm.batch.BatchNorm` says; the value is that of the constants
    """

    statistics: tuple[Tensor, Tensor] | None
    gamma: Tensor
    beta: Tensor
    eps: float
    per_step: bool = False
    renormalises: bool = False

    def has_steps(self) -> bool:
        """Return whether anything in it differs between time steps."""
        given = self.statistics is not None and self.statistics[0].dim() == 2
        return given or self.per_step or self.gamma.dim() == 2


class Constant(NamedTuple):
    """A normalisation by constants.

    :param values: mean and variance, gamma and beta, ``[N]`` or ``[T, N]``; ``None``: inputs stay
        as they are
    :param eps: added to the variance
    """

    values: tuple[Tensor, Tensor, Tensor, Tensor] | None
    eps: float = 0.0


class Norm(Adaptive):
    """A normalisation of currents between a linear map and neurons.

    :param shape: of the layer
    :param threshold: firing threshold of the neurons behind it, without gain
    """

    linear_bias: ClassVar[bool] = True
    """True if the preceding linear map has a bias."""

    of_membranes: ClassVar[bool] = False
    """True if it normalises membrane potentials ``[1, B, N, ...]`` in each time step, before they
    are compared with the threshold, and not currents."""

    needs: ClassVar[str | None] = None
    """What it needs that only a spiking network has, such as ``time steps``; ``None``: nothing
    else than ``of_membranes`` says."""

    made_of: ClassVar[tuple[str, ...]] = ()
    """Methods that ``forward`` calls, and that ``fused`` and ``constant`` describe with it."""

    def __init__(self, shape: LayerShape, threshold: float):
        super().__init__()
        self.shape = shape

    @classmethod
    def needs_spikes(cls) -> str | None:
        """Return what keeps it out of ordinary networks; ``None``: nothing."""
        return "membrane potentials" if cls.of_membranes else cls.needs

    def forward(self, x: Tensor) -> Tensor:
        """Normalise currents ``x[T, B, N, ...]``."""
        raise NotImplementedError

    def fused(self, x: Tensor) -> Affine | None:
        """Return this pass in the form of a fused operator; ``None`` if the layer must be called.

        After a pass with the batch's statistics whoever ran the operator calls :meth:`saw`.
        """
        return None

    def fusable(self, x: Tensor) -> Affine | None:
        """Return :meth:`fused` if it still describes :meth:`forward`."""
        return self.fused(x) if answers(self, "fused", *self.made_of) else None

    def saw(self, mean: Tensor, var: Tensor, x: Tensor) -> None:
        """Process statistics ``[N]`` or ``[T, N]`` of a batch ``x[T, B, N, ...]`` that a fused
        operator normalised."""

    def constant(self) -> Constant | None:
        """Return what this pass computes where it treats every input by itself and moves nothing;
        ``None``: it does not, or is no affine map."""
        return None

    def known_constant(self) -> Constant | None:
        """Return :meth:`constant` if it still describes :meth:`forward`."""
        return self.constant() if answers(self, "constant", *self.made_of) else None
