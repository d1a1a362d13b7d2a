"""Frames of events."""

from __future__ import annotations

from torch import Tensor

from snnrl.nn.encoders.base import Encoder
from snnrl.nn.registry import register


@register("encoder", "frames")
class FramesEncoder(Encoder):
    """Frame t of an input is the input current of step t, unscaled: an input brings its own time.

    Frames are ``[T, C, H, W]``, such as numbers of events at each pixel, with a channel for each
    polarity. In front of convolutions they keep their shape.
    """

    spikes = False

    takes_images = True
    takes_time = True

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"{self.features}, time_steps={self.time_steps}"

    def forward(self, observation: Tensor) -> Tensor:
        if observation.dim() == 2:
            # Flattened, as inputs are without convolutions.
            observation = observation.unflatten(1, (self.time_steps, -1))
        return observation.transpose(0, 1)
