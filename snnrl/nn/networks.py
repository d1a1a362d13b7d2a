"""Spiking networks: linear maps, normalisation and neurons between an encoder and a readout."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from snnrl.errors import UserError, expect
from snnrl.nn.coding import (
    DirectEncoder,
    Encoder,
    PopulationDecoder,
    PopulationEncoder,
    SpikeCountReadout,
)
from snnrl.nn.convolution import SpikingConvolution, SpikingConvolutions, conv_lists
from snnrl.nn.eager import Compilable
from snnrl.nn.fused import Operators, encoded_currents, fire_counts, fire_linear, operators
from snnrl.nn.inference import can_infer, inferred_counts
from snnrl.nn.neurons import Neuron, has_fused, make_neuron
from snnrl.nn.norm import NormStrategy, make_norm
from snnrl.nn.registry import build, split_spec
from snnrl.nn.structure import Structure
from snnrl.ops.backend import FUSED, resolve_kernel

Spec = str | Mapping[str, Any]

ENCODERS: dict[str, type[Encoder]] = {
    "population": PopulationEncoder,
    "direct": DirectEncoder,
}

READOUTS = ("population", "linear")


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


class SpikingNetwork(Compilable):
    """Encoder, spiking layers and readout: ``[B, inputs] -> [B, outputs]``.

    With ``readout="population"`` the last spiking layer has ``outputs * population`` neurons, which
    is normalised like the others, and a :class:`PopulationDecoder` reads their rates: the actors of
    PopSAN (Tang et al. 2020) and CaRe-BN (arXiv 2509.23791). With ``readout="linear"`` a
    :class:`SpikeCountReadout` follows the last hidden layer: CaRe-BN's discrete control.

    :param inputs: number of inputs, or the shape ``(C, H, W)`` of images (direct coding only)
    :param outputs: number of outputs
    :param hidden: neurons of each hidden layer
    :param neuron: name or ``dict(name=..., **parameters)``: ``lif``, ``clif``, ``dn``
    :param surrogate: name or mapping: ``rectangular``, ``sigmoid``, ``tanh``, ``triangle``
    :param encoder: name or mapping: ``population``, ``direct``
    :param norm: normalisation strategy
    :param time_steps: number of time steps T
    :param population: output neurons per output, for the population readout
    :param kernel: ``naive``, ``compile``, ``native``, ``triton``, or ``auto``, which becomes one of
        these at :meth:`resolve` or else in the first pass; see :func:`resolve_kernel`
    :param readout: ``population`` or ``linear``
    :param conv: ``dict(channels=..., kernels=..., strides=...)`` of spiking convolutions between
        encoder and hidden layers, for images; see :class:`SpikingConvolutions`
    :param input_range: lowest and highest input, for encoders that scale
    :raises UserError: unknown name or parameter, a size below 1, images without convolutions or
        with population coding, or a kernel without its compiler or that does not know the neuron;
        from a pass, a module that was replaced or has hooks where the kernel would leave it out
    """

    _structure: Structure | None = None
    _stranger: str | None = None

    def __init__(
        self,
        inputs: int | tuple[int, ...],
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
        readout: str = "population",
        conv: Mapping[str, Any] | None = None,
        input_range: tuple[float, float] | None = None,
    ):
        super().__init__()
        expect("readout", readout, READOUTS)
        for name, sizes in (
            ("time_steps", [time_steps]),
            ("population", [population]),
            ("net_arch", hidden),
        ):
            if min(sizes, default=1) < 1:
                raise UserError(f"{name}={min(sizes)}: expected at least 1")
        images = not isinstance(inputs, int)
        if images and conv is None:
            raise UserError(
                f"conv=None: inputs of shape {inputs} are images; expected "
                "dict(channels=[...], kernels=[...], strides=[...])"
            )
        if images and split_spec(encoder)[0] != "direct":
            raise UserError(
                f"encoder={split_spec(encoder)[0]}: takes a vector of numbers, not images; "
                "expected direct"
            )
        if conv is not None and not images:
            raise UserError(f"conv={dict(conv)}: expected images, not a vector of {inputs} numbers")
        self.encoder = build(
            "encoder",
            ENCODERS,
            encoder,
            inputs=inputs if isinstance(inputs, int) else math.prod(inputs),
            time_steps=time_steps,
            input_range=input_range,
        )

        def neurons() -> Neuron:
            return make_neuron(neuron, surrogate)

        self.conv: SpikingConvolutions | nn.Identity = nn.Identity()
        features = self.encoder.features
        if conv is not None and not isinstance(inputs, int):
            self.conv = SpikingConvolutions(inputs, neurons, norm, **conv_lists(conv))
            features = self.conv.features
        widths = [features, *hidden]
        if readout == "population":
            widths.append(outputs * population)
        self.layers = nn.Sequential(
            *(SpikingLayer(before, after, neurons(), norm) for before, after in pairwise(widths))
        )
        self.decoder = (
            PopulationDecoder(outputs, population)
            if readout == "population"
            else SpikeCountReadout(widths[-1], outputs)
        )
        self.kernel = kernel
        if kernel != "auto":
            # Where it will run is not known yet: on the device that goes with the kernel.
            self.resolve(torch.device("cuda" if kernel == "triton" else "cpu"))

    def extra_repr(self) -> str:
        """Its kernel, for ``print``."""
        return f"kernel={self.kernel}"

    def resolve(self, device: torch.device) -> None:
        """Decide what computes the network on this device.

        :raises UserError: the kernel that was asked for cannot
        """
        neurons = [module for module in self.modules() if isinstance(module, Neuron)]
        known = all(map(has_fused, neurons))
        self.kernel = resolve_kernel(self.kernel, str(device), has_fused=known)

    def forward(self, x: Tensor) -> Tensor:
        """Values ``[B, outputs]`` before any bound, from inputs ``[B, ...]``."""
        if self.kernel == "auto":
            self.resolve(x.device)
        if self.kernel != "naive":
            self._check_structure()
        if self.kernel in FUSED:
            return self._fused_pass(x, operators(self.kernel))
        return _compiled_pass()(self, x) if self.kernel == "compile" else _eager_pass(self, x)

    def _check_structure(self) -> None:
        """Refuse what only the naive kernel calls: it would be left out without a word."""
        structure = self._structure
        if structure is None or not structure.is_current():
            structure = self._structure = Structure(self)
            self._stranger = _stranger(self)
        if self._stranger is not None and self.kernel in FUSED:
            raise UserError(
                f"kernel={self.kernel}: knows no operator of {self._stranger}; expected "
                "kernel=compile or naive"
            )
        if not structure.is_plain():
            raise UserError(
                f"kernel={self.kernel}: {structure.what_is_not_plain()}, which it would not call; "
                "expected kernel=naive, or a pass inside snnrl.nn.eager.eager(network)"
            )

    def _fused_pass(self, x: Tensor, ops: Operators) -> Tensor:
        layers = cast(list[SpikingLayer], list(self.layers))
        if isinstance(self.conv, SpikingConvolutions):
            spikes = self.conv.fused(self.encoder, x, ops)
            if not layers:
                return self.decoder.read(ops.counts(spikes), len(spikes))
            first = layers[0].linear
            currents = ops.spike_linear(spikes, first.weight, first.bias)
        elif not layers:
            values: Tensor = self.decoder(self.encoder(x))
            return values
        elif self.kernel == "native" and can_infer(self.encoder, layers):
            counts = inferred_counts(self.encoder, layers, x)
            return self.decoder.read(counts, self.encoder.time_steps)
        else:
            currents = encoded_currents(self.encoder, layers[0].linear, x, ops)
        for layer, following in pairwise(layers):
            currents = fire_linear(layer.norm, layer.neuron, currents, following.linear, ops)
        counts = fire_counts(layers[-1].norm, layers[-1].neuron, currents, ops)
        return self.decoder.read(counts, len(currents))


def _stranger(network: SpikingNetwork) -> str | None:
    """The first module that the fused operators do not know, by name and class; ``None``: all are
    known, or are called where they stand (the encoder, normalisations, convolutions)."""
    known: list[tuple[str, nn.Module, tuple[type[nn.Module], ...]]] = [
        ("layers", network.layers, (nn.Sequential,)),
        ("conv", network.conv, (SpikingConvolutions, nn.Identity)),
        ("decoder", network.decoder, (PopulationDecoder, SpikeCountReadout)),
    ]
    for name, stack, layer_class in (
        ("layers", network.layers, SpikingLayer),
        ("conv.layers", getattr(network.conv, "layers", ()), SpikingConvolution),
    ):
        known += [(f"{name}.{i}", layer, (layer_class,)) for i, layer in enumerate(stack)]
    known += [
        (f"layers.{i}.linear", layer.linear, (nn.Linear,))
        for i, layer in enumerate(network.layers)
        if isinstance(layer, SpikingLayer)
    ]
    for name, module, classes in known:
        if type(module).forward not in [each.forward for each in classes]:
            return f"{name} ({type(module).__name__})"
    for name, module in network.named_modules():
        if name.endswith("neuron") and not has_fused(module):
            return f"{name} ({type(module).__name__})"
    return None


def _eager_pass(network: SpikingNetwork, x: Tensor) -> Tensor:
    values: Tensor = network.decoder(network.layers(network.conv(network.encoder(x))))
    return values


@cache
def _compiled_pass() -> Callable[[SpikingNetwork, Tensor], Tensor]:
    # One compiled form for each mode, batch size and structure that a process meets. The limit
    # guards against endless recompilation; a sweep or a test run in one process meets many.
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(_eager_pass, fullgraph=True, dynamic=False)
