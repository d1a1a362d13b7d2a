"""Adaptive homeostatic spiking activity regulation."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.nn.registry import register
from snnrl.nn.regulations.base import Regulation
from snnrl.parameters import Above, AtLeast, Between


@register("regulation", "ahsar")
class AHSAR(Regulation):
    """Adaptive homeostatic regulation of firing thresholds, without a trainable parameter.

    In each pass that learns, for layer l with the mean firing rate ``r_l`` (over time steps, batch
    and neurons; of signed spikes the mean of ``|out| > 0``)::

        rbar_l <- (1 - rho) rbar_l + rho r_l
        d_l    =  clip(([rbar_l - r_hi]+ - [r_lo - rbar_l]+) / r*, -c, c),  r* = (r_lo + r_hi) / 2
        h_l    <- h_l + eta (d_l - lam h_l) + D (h_{l-1} - 2 h_l + h_{l+1})
        threshold_l = threshold g exp(kappa tanh h_l)

    with ``h_0 = h_1`` and ``h_{L+1} = h_L`` at the ends. After each evaluation of the agent::

        log g <- clip(log g + delta tanh(E - 1) (1 - b clip(p, 0, 1)), -log G, log G)

    with ``E = mean_l rbar_l / r*`` and p the relative progress of the return
    (:meth:`snnrl.agents.base.SpikingAgent.report_evaluation`). The thresholds take the new g in the
    next pass that learns, so what was evaluated does not change by it.

    A reconstruction from the abstract of arXiv 2512.05015; its body and code could not be had. From
    the abstract: firing rates averaged per layer, a centred deviation from a band, cross-layer
    diffusion, a bounded map to threshold scales, and a slow global gain by validation progress and
    activity. Ours: all constants, the clipping of d, the leak, p for returns, where g enters, and
    the start. Its signs are those of negative feedback: a layer that fires too much gets a higher
    threshold. ``rbar`` starts at r*, in the middle of the band, so that nothing moves before rates
    were seen; h and log g start at 0.

    In a steady state ``d_l = lam h_l`` but for diffusion: the leak leaves a layer at a distance
    from the band. The global gain brings the mean rate over layers into it. A layer at the bound
    of the map is not moved further.

    :param layers: number of spiking layers L
    :param lowest: r_lo, lower end of the band, in spikes per time step
    :param highest: r_hi, upper end of the band
    :param momentum: rho, share of a pass in the average of the rates
    :param step: eta, step of h by the deviation
    :param leak: lam, pull of h towards 0
    :param diffusion: D, exchange of h between neighbouring layers; above 0.25 it would oscillate
    :param span: kappa, largest logarithm of a layer's threshold scale
    :param global_step: delta, largest change of log g in an evaluation
    :param progress_weight: b, share of that change left out at full progress
    :param largest_deviation: c, bound of the deviation
    :param largest_gain: G, upper bound of g, whose lower bound is 1 / G
    :raises UserError: a band that is empty
    """

    rates: Tensor
    homeostat: Tensor
    log_gain: Tensor

    def __init__(
        self,
        layers: int,
        lowest: Annotated[float, Between(0, 1)] = 0.1,
        highest: Annotated[float, Above(0, 1)] = 0.2,
        momentum: Annotated[float, Above(0, 1)] = 0.1,
        step: Annotated[float, Above(0, 1)] = 0.1,
        leak: Annotated[float, Between(0, 1)] = 0.1,
        diffusion: Annotated[float, Between(0, 0.25)] = 0.02,
        span: Annotated[float, Between(0, 3)] = 0.5,
        global_step: Annotated[float, Between(0, 1)] = 0.02,
        progress_weight: Annotated[float, Between(0, 1)] = 0.9,
        largest_deviation: Annotated[float, Above(0)] = 3.0,
        largest_gain: Annotated[float, AtLeast(1)] = 2.0,
    ):
        super().__init__(layers)
        if not lowest < highest:
            raise UserError(
                f"regulation.lowest={lowest}: expected less than regulation.highest={highest}"
            )
        self.lowest, self.highest = lowest, highest
        self.momentum, self.step, self.leak, self.diffusion = momentum, step, leak, diffusion
        self.span = span
        self.global_step, self.progress_weight = global_step, progress_weight
        self.largest_deviation, self.largest_gain = largest_deviation, largest_gain
        self.register_buffer("rates", torch.full((layers,), self.middle))
        self.register_buffer("homeostat", torch.zeros(layers))
        self.register_buffer("log_gain", torch.zeros(()))

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"lowest={self.lowest:g}, highest={self.highest:g}"

    @property
    def middle(self) -> float:
        """Return ``r*``, the middle of the band."""
        return (self.lowest + self.highest) / 2

    def deviations(self) -> Tensor:
        """Return the deviation d of each layer from the band, ``[L]``."""
        above = (self.rates - self.highest).clamp(min=0)
        below = (self.lowest - self.rates).clamp(min=0)
        bound = self.largest_deviation
        return ((above - below) / self.middle).clamp(-bound, bound)

    def scales(self) -> Tensor:
        """Return the scale of each layer's threshold without the global gain, ``[L]``."""
        return torch.exp(self.span * torch.tanh(self.homeostat))

    @torch.no_grad()
    def forward(self, rates: Tensor) -> Tensor:
        self.rates.lerp_(rates, self.momentum)
        h = self.homeostat
        pulled = self.deviations() - self.leak * h
        self.homeostat.add_(self.step * pulled + self.diffusion * _laplacian(h))
        return self.log_gain.exp() * self.scales()

    @torch.no_grad()
    def evaluated(self, progress: float) -> None:
        activity = self.rates.mean() / self.middle
        weight = 1 - self.progress_weight * min(max(progress, 0.0), 1.0)
        bound = math.log(self.largest_gain)
        self.log_gain.add_(self.global_step * weight * torch.tanh(activity - 1))
        self.log_gain.clamp_(-bound, bound)

    def logged(self) -> dict[str, Tensor]:
        return {
            "moving_rate": self.rates,
            "threshold_scale": self.scales(),
            "global_gain": self.log_gain.exp().expand(self.layers),
        }

    def followed(self) -> list[Tensor]:
        return [self.rates, self.homeostat, self.log_gain]


def _laplacian(h: Tensor) -> Tensor:
    """Return ``h_{l-1} - 2 h_l + h_{l+1}``, with copies of the first and the last at the ends."""
    padded = torch.cat([h[:1], h, h[-1:]])
    return padded[:-2] - 2 * h + padded[2:]
