"""Base class of the encoders that spike by a drive in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from snnrl.nn.encoders.base import Encoder

FLAT = 0.99
"""Size of a tanh beyond which it is flat: a larger input makes hardly another spike."""


class UnitDriveEncoder(Encoder):
    """An encoder whose spikes depend on a drive in [0, 1] of each input.

    Brightness is a drive as it is. An observation in RL has a sign and no bounds, so its drive is
    our choice:

    - images: the pixel, which Stable-Baselines3 has scaled to [0, 1];
    - vectors of bytes: scaled from ``input_range`` to [0, 1];
    - other vectors: the positive and the negative part of ``tanh(observation)``, so each number
      drives two inputs. The tanh is that of the population code, which keeps large observations
      apart longer than clipping does. Two inputs, as spikes have no sign and 0, the usual mean,
      should not be half the highest rate.

    :param inputs: number of observations D
    :param time_steps: number of time steps T
    :param input_range: lowest and highest observation, scaled to [0, 1]; ``None``: a vector has a
        sign and no bounds
    """

    scales = True

    takes_images = True

    def __init__(
        self, inputs: int, time_steps: int, input_range: tuple[float, float] | None = None
    ):
        super().__init__(inputs, time_steps, input_range)
        self.features = inputs if input_range is not None else 2 * inputs

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        scaling = "" if self.input_range is None else f", input_range={self.input_range}"
        return f"{self.features}, time_steps={self.time_steps}{scaling}"

    def saturation(self, observation: Tensor) -> Tensor:
        if self._bounded(observation):
            return torch.zeros((), device=observation.device)
        return (torch.tanh(observation).abs() > FLAT).float().mean()

    def drive(self, observation: Tensor) -> Tensor:
        """Return drives in [0, 1]: ``[B, D]`` -> ``[B, features]``; images keep their shape."""
        if not self._bounded(observation):
            squashed = torch.tanh(observation)
            return torch.cat([squashed, -squashed], dim=1).clamp(min=0)
        if observation.dim() == 2 and self.input_range is not None:
            low, high = self.input_range
            observation = (observation - low) / (high - low)
        return observation.clamp(0, 1)

    def _bounded(self, observation: Tensor) -> bool:
        return observation.dim() > 2 or self.input_range is not None
