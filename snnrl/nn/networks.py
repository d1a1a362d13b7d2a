"""Spiking networks: linear maps, normalisation and neurons between an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.coding import DirectEncoder, Encoder, PopulationDecoder, PopulationEncoder
from snnrl.nn.eager import Compilable
from snnrl.nn.neurons import Neuron, make_neuron
from snnrl.nn.norm import NormStrategy, make_norm
from snnrl.nn.registry import build
from snnrl.ops.backend import resolve_kernel

Spec = str | Mapping[str, Any]

ENCODERS: dict[str, type[Encoder]] = {
    "population": PopulationEncoder,
    "direct": DirectEncoder,
}


class SpikingLayer(nn.Module):
    """Linear map, normalisation, neuron.

    :param inputs: input features
    :param outputs: neurons N
    :param neuron: the neurons
    :param norm: strategy of the normalisation between the linear map and the neurons
    """

    def __init__(self, inputs: int, outputs: int, neuron: Neuron, norm: NormStrategy):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = make_norm(norm, outputs, affine_start=neuron.threshold / 2)
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        """Spikes or currents ``[T, B, inputs]`` -> spikes ``[T, B, N]``, from rest."""
        spikes: Tensor = self.neuron(self.norm(self.linear(x)))[0]
        return spikes


class PopulationNetwork(Compilable):
    """Encoder, spiking layers and population decoder: ``[B, inputs] -> [B, outputs]``.

    The last spiking layer has ``outputs * population`` neurons and is normalised like the others.
    Source: PopSAN (Tang et al. 2020) and CaRe-BN (arXiv 2509.23791).

    :param inputs: number of inputs
    :param outputs: number of outputs
    :param hidden: neurons of each hidden layer
    :param neuron: name or ``dict(name=..., **parameters)``: ``lif``, ``clif``, ``dn``
    :param surrogate: name or mapping: ``rectangular``, ``sigmoid``, ``tanh``, ``triangle``
    :param encoder: name or mapping: ``population``, ``direct``
    :param norm: normalisation strategy
    :param time_steps: number of time steps T
    :param population: output neurons per output
    :param kernel: ``naive``, ``compile``, or ``auto`` (naive: no run's length is known here)
    :raises UserError: unknown name or parameter, a size below 1, or a kernel that cannot run here
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int],
        *,
        neuron: Spec,
        surrogate: Spec,
        encoder: Spec,
        norm: NormStrategy,
        time_steps: int,
        population: int,
        kernel: str,
    ):
        super().__init__()
        for name, sizes in (
            ("time_steps", [time_steps]),
            ("population", [population]),
            ("net_arch", hidden),
        ):
            if min(sizes, default=1) < 1:
                raise UserError(f"{name}={min(sizes)}: expected at least 1")
        self.encoder = build("encoder", ENCODERS, encoder, inputs=inputs, time_steps=time_steps)
        widths = [self.encoder.features, *hidden, outputs * population]
        self.layers = nn.Sequential(
            *(
                SpikingLayer(before, after, make_neuron(neuron, surrogate), norm)
                for before, after in pairwise(widths)
            )
        )
        self.decoder = PopulationDecoder(outputs, population)
        self.kernel = resolve_kernel(kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Values ``[B, outputs]`` before any bound, from inputs ``[B, inputs]``."""
        return _compiled_pass()(self, x) if self.kernel == "compile" else _eager_pass(self, x)


def _eager_pass(network: PopulationNetwork, x: Tensor) -> Tensor:
    values: Tensor = network.decoder(network.layers(network.encoder(x)))
    return values


@cache
def _compiled_pass() -> Callable[[PopulationNetwork, Tensor], Tensor]:
    # One compiled form for each mode, batch size and structure that a process meets. The limit
    # guards against endless recompilation; a sweep or a test run in one process meets many.
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(_eager_pass, fullgraph=True, dynamic=False)
