"""Base class of the regulations."""

from __future__ import annotations

from torch import Tensor

from snnrl.nn.adaptive import Adaptive


class Regulation(Adaptive):
    """Change the firing thresholds of a network by the firing rates of its layers.

    The network calls it after each pass that learns, and multiplies each layer's threshold by the
    returned gain. Its state is in buffers that it updates in place.

    :param layers: number of spiking layers L
    """

    def __init__(self, layers: int):
        super().__init__()
        self.layers = layers

    def forward(self, rates: Tensor) -> Tensor:
        """Return the gain of each layer's threshold, ``[L]``.

        :param rates: mean firing rate of each layer in this pass, ``[L]``, without gradient
        """
        raise NotImplementedError

    def evaluated(self, progress: float) -> None:
        """Learn of an evaluation of the agent. Thresholds move in the next pass that learns.

        :param progress: how far its return is above the best one before, as a share of the range of
            all returns so far: at most 1, negative where it is below, 0 where there is no range
        """

    def logged(self) -> dict[str, Tensor]:
        """Return what is logged of each layer by name, ``[L]`` each."""
        return {}
