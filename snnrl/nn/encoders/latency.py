"""Latency coding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.encoders.base import spike_currents
from snnrl.nn.encoders.unit_drive import UnitDriveEncoder
from snnrl.nn.operators import Operators
from snnrl.nn.registry import register


@register("encoder", "latency")
class LatencyEncoder(UnitDriveEncoder):
    """One spike of each input, the earlier the higher its drive.

    The steps count from 0; a drive d spikes in step ``floor((1 - d) (T - 1) + 1/2)``. Without a
    drive an input spikes in the last step.

    The gradient is that of the interpolation between two steps, our choice: with
    ``l = (1 - d) (T - 1)`` between steps n and n + 1, it is ``ds[n]/dl = -1`` and
    ``ds[n + 1]/dl = 1``. Drives: :class:`UnitDriveEncoder`.

    :raises UserError: a single time step, which all inputs would share
    """

    def __init__(
        self, inputs: int, time_steps: int, input_range: tuple[float, float] | None = None
    ):
        if time_steps < 2:
            raise UserError(
                f"encoder=latency: all inputs would spike in the same of time_steps={time_steps}; "
                "expected at least 2"
            )
        super().__init__(inputs, time_steps, input_range)

    def forward(self, observation: Tensor) -> Tensor:
        drive = self.drive(observation)
        last = self.time_steps - 1
        latency = (1 - drive) * last
        step = torch.arange(self.time_steps, device=drive.device).view(-1, *[1] * drive.dim())
        spikes = (step == torch.floor(latency + 0.5)).to(drive.dtype)
        before = latency.detach().floor().clamp(max=last - 1)
        slope = (step == before + 1).to(drive.dtype) - (step == before).to(drive.dtype)
        soft = slope * latency
        # The value of the spikes, the gradient of the interpolation.
        return spikes + (soft - soft.detach())

    def currents(self, observation: Tensor, linear: nn.Module, ops: Operators) -> Tensor:
        return spike_currents(self(observation), linear, ops)
