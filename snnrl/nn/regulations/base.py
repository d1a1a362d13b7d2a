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
