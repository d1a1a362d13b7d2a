"""Meters: hooks that count what enters and leaves the layers of a network in its passes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snnrl.deploy.cost_layers import LayerCost
from snnrl.deploy.cost_maps import pooled, reach_of, rows, weights_of
from snnrl.errors import UserError
from snnrl.nn.encoders import Encoder
from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.lateral import IntraLayer
from snnrl.nn.layers import SpikingLayer
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import Norm
from snnrl.nn.norm.layernorm import LayerNorm
from snnrl.nn.norm.membranes import OfNormalised
from snnrl.nn.readouts import MembraneReadout, PopulationReadout

FIELD_MACS = 2
"""MACs of a receptive field, ``(o - mean)^2 / (2 std^2)``: a square and a product. Its exponential
is no MAC."""

STANDARDISE_MACS = 3
"""MACs for each value that is normalised by the mean and variance of its own input: its square in
the variance, the product with 1 / sd, gamma and beta."""


class Inputs:
    """What enters a map, added up over passes.

    :param module: the map
    :param spikes: name of what sends spikes into it, for the error; ``None``: inputs are numbers
    """

    def __init__(self, module: nn.Module, spikes: str | None):
        self.module, self.spikes = module, spikes
        self.calls = 0
        self.total: Tensor | None = None
        """Of each input, how many spikes came (their sizes), or how often it was not 0."""

    def see(self, x: Tensor) -> None:
        """Count inputs ``[..., *shape]``.

        :raises UserError: spikes that are no whole numbers
        """
        each = rows(self.module, x)
        if self.spikes is None:
            total = (pooled(self.module, each) != 0).sum(0).double()
        else:
            total = sizes(each, self.spikes).sum(0, dtype=torch.float64)
        self.total = total if self.total is None else self.total + total
        self.calls += len(each)

    def operations(self, observations: int) -> dict[str, Any]:
        """Return the fields of a :class:`LayerCost` that the map alone decides."""
        assert self.total is not None
        numbers = self.spikes is None
        reach = reach_of(self.module, self.total.shape, behind_pool=numbers)
        steps = self.calls / observations
        dense = reach.every.sum().item() * steps
        effective = (reach.by_weights * self.total).sum().item() / observations
        return dict(
            inputs=self.total.numel(),
            outputs=reach.outputs,
            time_steps=round(steps),
            dense=dense,
            acs=0.0 if numbers else effective,
            macs=dense if numbers else 0.0,
            effective_macs=effective if numbers else 0.0,
        )


def sizes(spikes: Tensor, sender: str) -> Tensor:
    """Return how many spikes of 1 or -1 each one stands for.

    :param sender: name of what sent them
    :raises UserError: they are no whole numbers, which no accumulations can stand for
    """
    if not torch.equal(spikes, spikes.round()):
        raise UserError(
            f"cost: {sender} sends out spikes that are no whole numbers, which take no known "
            "number of accumulations; expected 0, 1, -1, 2 ..., or an encoder of currents "
            "(spikes = False)"
        )
    return spikes.abs()


class Meter:
    """Counts what one layer does in passes of its network.

    :param name: of the layer
    :param kind: of :class:`LayerCost`
    """

    def __init__(self, name: str, kind: str):
        self.name, self.kind = name, kind

    def attach(self) -> list[RemovableHandle]:
        """Register the hooks that count, and return their handles."""
        raise NotImplementedError

    def was_called(self) -> bool:
        """Return whether a pass has reached the layer."""
        raise NotImplementedError

    def cost(self, observations: int) -> LayerCost:
        """Return what the layer costs, where it was called with so many observations.

        :raises UserError: a normalisation whose operations are unknown
        """
        raise NotImplementedError


class MapMeter(Meter):
    """Counts the operations of a map of numbers: of an ordinary network, or behind spike counts.

    :param module: the map
    :param norm: normalisation behind it, ``None``: none
    """

    def __init__(self, name: str, module: nn.Module, norm: Norm | None = None, kind: str = "map"):
        super().__init__(name, kind)
        self.seen, self.norm = Inputs(module, None), norm

    def attach(self) -> list[RemovableHandle]:
        def see(module: nn.Module, inputs: Any) -> None:
            self.seen.see(inputs[0])

        return [self.seen.module.register_forward_pre_hook(see)]

    def was_called(self) -> bool:
        return self.seen.calls > 0

    def cost(self, observations: int) -> LayerCost:
        own = self.seen.operations(observations)
        norm = normalisation(self.name, self.norm)
        return LayerCost(
            self.name,
            self.kind,
            rate=None,
            normalisation_macs=float(norm.macs * own["outputs"] * own["time_steps"]),
            updates=0.0,
            parameters=_stored(self.seen.module, norm),
            **own,
        )


class EncoderMeter(Meter):
    """Counts the spikes of an encoder, and the arithmetic of its receptive fields.

    :param network: its network
    """

    def __init__(self, name: str, network: SpikingNetwork):
        super().__init__(name, "encoder")
        self.network = network
        self.calls = 0
        self.spikes = torch.zeros((), dtype=torch.float64)
        self.shape: tuple[int, ...] = ()

    @property
    def encoder(self) -> Encoder:
        """Return the encoder."""
        return self.network.encoder

    def attach(self) -> list[RemovableHandle]:
        def see(module: nn.Module, inputs: Any, output: Tensor) -> None:
            # With early exit the network takes the first steps only.
            taken = output[: self.network.taken]
            self.inputs, self.shape = inputs[0][0].numel(), tuple(taken.shape[2:])
            self.steps = len(taken)
            self.calls += taken.shape[1]
            if module.spikes:
                self.spikes = self.spikes + (taken != 0).sum().cpu()

        return [self.encoder.register_forward_hook(see)]

    def was_called(self) -> bool:
        return self.calls > 0

    def cost(self, observations: int) -> LayerCost:
        outputs = math.prod(self.shape)
        updates = float(outputs * self.steps) if self.encoder.spikes else 0.0
        fields = isinstance(self.encoder, PopulationEncoder)
        macs = float(FIELD_MACS * outputs) if fields else 0.0
        fired = self.spikes.item() / observations
        return LayerCost(
            self.name,
            self.kind,
            inputs=self.inputs,
            outputs=outputs,
            time_steps=self.steps,
            rate=fired / updates if updates else None,
            dense=macs,
            acs=0.0,
            macs=macs,
            effective_macs=macs,
            normalisation_macs=0.0,
            updates=updates,
            parameters=sum(each.numel() for each in self.encoder.parameters()),
        )


class SpikingMeter(Meter):
    """Counts the operations of a spiking layer.

    :param layer: the layer
    :param spikes: name of what sends spikes into it; ``None``: an encoder that sends numbers
    """

    def __init__(self, name: str, layer: SpikingLayer, spikes: str | None):
        super().__init__(name, "spiking")
        self.layer, self.seen = layer, Inputs(layer.linear, spikes)
        self.fired = torch.zeros((), dtype=torch.float64)

    def attach(self) -> list[RemovableHandle]:
        def see(module: nn.Module, inputs: Any) -> None:
            self.seen.see(inputs[0])

        def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.fired = self.fired + self.layer.fired(output).sum(dtype=torch.float64).cpu()

        return [
            self.layer.linear.register_forward_pre_hook(see),
            self.layer.register_forward_hook(count),
        ]

    def was_called(self) -> bool:
        return self.seen.calls > 0

    def cost(self, observations: int) -> LayerCost:
        own = self.seen.operations(observations)
        updates = float(own["outputs"] * own["time_steps"])
        norm = normalisation(self.name, self.layer.norm)
        for module in self.layer.neuron.modules():
            if isinstance(module, OfNormalised):
                # Of membrane potentials, which no weight makes.
                norm = Normalisation(1, 2 * module.norm.shape.features)
        learned = sum(each.numel() for each in self.layer.neuron.parameters(recurse=False))
        return LayerCost(
            self.name,
            self.kind,
            rate=self.fired.item() / observations / updates,
            normalisation_macs=norm.macs * updates,
            updates=updates,
            parameters=_stored(self.layer.linear, norm) + learned,
            **own,
        )


class LateralMeter(Meter):
    """Counts the operations of connections within output populations.

    :param lateral: the connections
    :param spikes: name of the layer that they connect
    """

    def __init__(self, name: str, lateral: IntraLayer, spikes: str):
        super().__init__(name, "lateral")
        self.lateral, self.spikes = lateral, spikes
        self.calls = 0
        self.total = torch.zeros((), dtype=torch.float64, device=_device(lateral))

    def attach(self) -> list[RemovableHandle]:
        def see(module: nn.Module, inputs: Any) -> None:
            self.total = self.total + sizes(inputs[0], self.spikes).sum(0, dtype=torch.float64)
            self.calls += len(inputs[0])

        return [self.lateral.register_forward_pre_hook(see)]

    def was_called(self) -> bool:
        return self.calls > 0

    def cost(self, observations: int) -> LayerCost:
        neurons = self.lateral.outputs * self.lateral.population
        # Before the first step there were no spikes.
        steps = round(self.calls / observations) - 1
        every, by_weights = self._reach()
        return LayerCost(
            self.name,
            self.kind,
            inputs=neurons,
            outputs=neurons,
            time_steps=steps,
            rate=None,
            dense=float(every * neurons * steps),
            acs=(self.total * by_weights).sum().item() / observations,
            macs=0.0,
            effective_macs=0.0,
            normalisation_macs=0.0,
            updates=0.0,
            parameters=every * neurons + (neurons if self.lateral.bias is not None else 0),
        )

    def _reach(self) -> tuple[int, Tensor | float]:
        """Return how many neurons each one reaches, and the same by weights that are not 0,
        ``[A * P]``."""
        weight, population = self.lateral.weight, self.lateral.population
        if weight is None:
            return 0, 0.0
        met = (weight != 0).double()
        if self.lateral.sources == "own":
            return 1, met.flatten()
        others = self.lateral.sources == "others"
        if others:
            met = met * (1 - torch.eye(population, dtype=met.dtype, device=met.device))
        # weight[a, i, j] is from j to i.
        return population - others, met.sum(1).flatten()


class PopulationMeter(Meter):
    """Counts the operations of a readout of populations: once an action where it reads rates, in
    every step where it integrates spikes.

    :param decoder: the readout
    :param spikes: name of what sends its spikes
    """

    def __init__(self, name: str, decoder: PopulationReadout, spikes: str):
        super().__init__(name, "readout")
        self.decoder, self.spikes = decoder, spikes
        self.calls = self.steps = 0
        self.total = self.active = torch.zeros((), dtype=torch.float64, device=_device(decoder))

    def attach(self) -> list[RemovableHandle]:
        def see(module: nn.Module, inputs: Any) -> None:
            each = inputs[0]
            self.total = self.total + sizes(each, self.spikes).sum((0, 1), dtype=torch.float64)
            self.active = self.active + (each.sum(0) != 0).sum(0)
            self.steps, self.calls = len(each), self.calls + each.shape[1]

        return [self.decoder.register_forward_pre_hook(see)]

    def was_called(self) -> bool:
        return self.calls > 0

    def cost(self, observations: int) -> LayerCost:
        weight, outputs = self.decoder.weight, len(self.decoder.weight)
        met = (weight != 0).flatten()
        integrates = isinstance(self.decoder, MembraneReadout)
        times = self.steps if integrates else 1
        dense = float(weight.numel() * times)
        return LayerCost(
            self.name,
            self.kind,
            inputs=weight.numel(),
            outputs=outputs,
            time_steps=times,
            rate=None,
            dense=dense,
            acs=(self.total * met).sum().item() / observations if integrates else 0.0,
            macs=0.0 if integrates else dense,
            effective_macs=0.0 if integrates else (self.active * met).sum().item() / observations,
            normalisation_macs=0.0,
            updates=float(outputs * times) if integrates else 0.0,
            parameters=weight.numel() + outputs,
        )


class Normalisation(NamedTuple):
    """Operations of a normalisation.

    :param macs: MACs for each value; 0: it folds into the weights and biases in front of it
    :param stored: numbers that it stores; of one that folds, those that the biases become
    """

    macs: int
    stored: int


def normalisation(name: str, norm: nn.Module | None) -> Normalisation:
    """Return the operations of a normalisation.

    One by constants of each feature folds. One by constants of each time step does not, as weights
    are the same in all of them.

    :param name: of the layer
    :param norm: ``None``: none
    :raises UserError: its operations are unknown
    """
    if norm is None:
        return Normalisation(0, 0)
    constant = norm.known_constant() if isinstance(norm, Norm) else None
    if constant is not None:
        if constant.values is None:
            return Normalisation(0, 0)
        features = constant.values[0].shape[-1]
        steps = [len(each) for each in constant.values if each.dim() == 2]
        return Normalisation(1, 2 * steps[0] * features) if steps else Normalisation(0, features)
    if isinstance(norm, LayerNorm):
        return Normalisation(STANDARDISE_MACS, 2 * norm.shape.features)
    raise UserError(
        f"cost: {name}.norm ({type(norm).__name__}): its operations are unknown; expected a "
        "normalisation of snnrl.nn.norm, or one with a constant()"
    )


def _stored(module: nn.Module, norm: Normalisation) -> int:
    """Return the numbers that a map and its normalisation store."""
    weights = weights_of(module)
    bias = 0 if weights.bias is None else weights.bias.numel()
    return weights.weight.numel() + (bias + norm.stored if norm.macs else max(bias, norm.stored))


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
