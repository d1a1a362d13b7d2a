"""Base class of the surrogates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.answers import answers
from snnrl.nn.shape import LayerShape
from snnrl.ops import surrogate as ops


class Surrogate(nn.Module):
    """Spikes ``s = 1{v > th}`` of membrane potentials, with a surrogate derivative.

    It may own parameters, such as one for each time step.

    :param shape: of the layer
    """

    def __init__(self, shape: LayerShape):
        super().__init__()
        self.shape = shape

    def forward(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        """Return the spikes of one time step.

        :param membrane: ``[B, N, ...]``
        :param threshold: firing threshold, a number, or a tensor that broadcasts
        :param step: number of the time step, from 0
        """
        raise NotImplementedError

    def level(self, threshold: float) -> float | Tensor:
        """Return the membrane potential above which it spikes: a number, or one for each neuron
        ``[N]``.

        :param threshold: current firing threshold
        :raises UserError: there is none
        """
        return threshold

    def known_level(self, threshold: float) -> float | Tensor:
        """Return :meth:`level` if it still describes :meth:`forward`, or that has an
        :meth:`operand`, whose spikes are those above the threshold.

        :raises UserError: as :meth:`level`, or a ``forward`` that nothing describes
        """
        if answers(self, "level") or answers(self, "operand"):
            return self.level(threshold)
        raise UserError(
            f"{type(self).__name__} makes spikes in a forward of its own; expected one whose "
            "level(threshold) says above which membrane potential"
        )

    def operand(self, threshold: float | Tensor) -> ops.Surrogate | None:
        """Return the surrogate for the fused operators; ``None`` if they do not support it.

        :param threshold: current firing threshold
        """
        return None

    def known(self, threshold: float | Tensor) -> ops.Surrogate | None:
        """Return :meth:`operand` if it still describes :meth:`forward`."""
        return self.operand(threshold) if answers(self, "operand") else None

    @torch.no_grad()
    def project(self) -> None:
        """Project the parameters to their allowed range: called after each gradient step."""
