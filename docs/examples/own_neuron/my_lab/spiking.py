"""A neuron and a loss term of one's own."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from snnrl.nn.losses import LossTerm, Pass
from snnrl.nn.neurons import Neuron
from snnrl.nn.registry import register
from snnrl.parameters import AtLeast, Between


@register("neuron", "draining")
class Draining(Neuron):
    """``v[t] = (1 - drain) v[t-1] + x[t] - th s[t-1]``: leaky, reset by subtraction.

    :param drain: share of the membrane potential lost in a step
    """

    def __init__(self, *, drain: Annotated[float, Between(0, 1)] = 0.25, **shared: Any):
        super().__init__(**shared)
        self.drain = drain

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        threshold = self.threshold.level()
        v, s = state or (torch.zeros_like(x[0]), torch.zeros_like(x[0]))
        spikes = []
        for step, current in enumerate(x.unbind(0)):
            reset = s.detach() if self.detach_reset else s
            v = (1 - self.drain) * v + current - threshold * reset
            s = self.surrogate(v, threshold, step)
            spikes.append(s)
        return torch.stack(spikes), (v, s)


@register("loss", "quiet")
class Quiet(LossTerm):
    """``weight * mean over layers of the mean squared membrane potential``.

    :param weight: factor of the term
    """

    needs_traces = True

    def __init__(self, weight: Annotated[float, AtLeast(0)] = 0.01):
        super().__init__()
        self.weight = weight

    def forward(self, seen: Pass) -> Tensor:
        layers = [trace.membranes.square().mean() for trace in seen.traces.values()]
        return self.weight * torch.stack(layers).mean()
