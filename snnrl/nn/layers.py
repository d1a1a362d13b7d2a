"""Spiking layer: linear map, normalisation, neurons. Only this file defines their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.answers import answers
from snnrl.nn.encoders.base import over_steps, spike_currents
from snnrl.nn.lateral import IntraLayer, OfLaterStep
from snnrl.nn.neurons import Neuron, make_neuron
from snnrl.nn.norm import Norm, NormStrategy, make_strategy
from snnrl.nn.norm.base import Affine
from snnrl.nn.norm.membranes import OfNormalised
from snnrl.nn.norm.none import NoNorm
from snnrl.nn.operators import Operators
from snnrl.nn.registry import Spec
from snnrl.nn.shape import LayerShape
from snnrl.ops.dynamics import Dynamics, FusedLayer
from snnrl.ops.native import InferenceLayer


class SpikingLayer(nn.Module):
    """Linear map or convolution, normalisation, neurons: from rest, for every pass.

    :meth:`forward` is the specification; the other passes are the same by fused operators.

    :param linear: ``nn.Linear``, or ``nn.Conv2d`` for images
    :param norm: normalisation of the currents
    :param neuron: the neurons
    """

    def __init__(self, linear: nn.Module, norm: Norm, neuron: Neuron):
        super().__init__()
        self.linear = linear
        self.norm = norm
        self.neuron = neuron
        self.lateral: IntraLayer | None = None
        self.rates: Tensor | None = None
        self._counts = 0

    def connect(self, lateral: IntraLayer) -> None:
        """Connect the neurons with each other.

        The currents of the connections are added behind the normalisation. All kernels then call
        the neurons step by step.
        """
        self.neuron.surrogate = OfLaterStep(self.neuron.surrogate)
        self.lateral = lateral

    @property
    def is_dense(self) -> bool:
        """Return whether its linear map is a matrix."""
        return isinstance(self.linear, nn.Linear)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Context in which each pass stores in ``rates`` how often each neuron fired per time step,
        ``[N, ...]``."""
        self._counts += 1
        try:
            yield
        finally:
            self._counts -= 1
            if not self._counts:
                self.rates = None

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes ``[T, B, N, ...]`` of spikes or currents ``x[T, B, ...]``."""
        currents = self.linear(x) if self.is_dense else over_steps(self.linear, x)
        return self._spikes(self.norm(currents))

    def _spikes(self, currents: Tensor) -> Tensor:
        """Return the spikes ``[T, B, N, ...]`` that the neurons make of normalised currents."""
        if self.lateral is None:
            spikes: Tensor = self.neuron(currents)[0]
        else:
            spikes = self._connected_spikes(currents, self.lateral)
        if self._counts:
            self.rates = self.fired(spikes).mean((0, 1))
        return spikes

    def _connected_spikes(self, currents: Tensor, lateral: IntraLayer) -> Tensor:
        surrogate, state = self.neuron.surrogate, None
        if not isinstance(surrogate, OfLaterStep):
            raise UserError(
                f"lateral={lateral.name}: the neurons ({type(self.neuron).__name__}) were replaced "
                "after they were connected; expected layer.connect(layer.lateral) again"
            )
        spikes = [torch.zeros_like(currents[0])]
        for step, current in enumerate(currents.unbind(0)):
            surrogate.first = step
            fired, state = self.neuron((current + lateral(spikes[-1])).unsqueeze(0), state)
            spikes.append(fired[0])
        return torch.stack(spikes[1:])

    def fired(self, spikes: Tensor) -> Tensor:
        """Return 1 where the neurons fired and 0 elsewhere, of their outputs ``[T, B, N, ...]``."""
        return self.neuron.fired(spikes) if isinstance(self.neuron, Neuron) else spikes

    def unknown(self) -> tuple[str, nn.Module] | None:
        """Return the first part without a fused operator, by its name in the layer (empty: the
        layer itself); ``None`` if there is none."""
        if not answers(self, "fire"):
            return "", self
        if self.is_dense and type(self.linear).forward is not nn.Linear.forward:
            return "linear", self.linear
        if not isinstance(self.neuron, Neuron) or self.neuron.known() is None:
            return "neuron", self.neuron
        return None

    def currents_of(self, spikes: Tensor, ops: Operators) -> Tensor:
        """Return the currents ``[T, B, N, ...]`` that spikes ``[T, B, ...]`` cause."""
        return spike_currents(spikes, self.linear, ops)

    def fire(self, currents: Tensor, ops: Operators) -> Tensor:
        """Return the spikes ``[T, B, N, ...]`` of currents."""
        if self.lateral is not None:
            return self._spikes(self.norm(currents))
        affine = self._affine(currents, ops)
        if affine is None and not self._computes_neurons(ops):
            return self._spikes(self.norm(currents))
        if affine is None:
            normalised, constants = self.norm(currents), self._constants()
            if not self._counts:
                return ops.neuron(normalised, constants)
            spikes, counts = ops.neuron(normalised, constants, counts=True)
            self.rates = counts.mean(0) / len(currents)
            return spikes
        spikes, *seen = ops.normalised_neuron(currents, self._fused(affine), bool(self._counts))
        self._store_results(affine, seen, currents)
        return spikes

    def fire_into(self, following: SpikingLayer, currents: Tensor, ops: Operators) -> Tensor:
        """Return the currents of the following layer."""
        affine, linear = self._affine(currents, ops), following.linear
        if affine is None or not isinstance(linear, nn.Linear):
            return following.currents_of(self.fire(currents, ops), ops)
        currents_after, *seen = ops.fire_linear(
            currents, self._fused(affine), linear.weight, linear.bias, bool(self._counts)
        )
        self._store_results(affine, seen, currents)
        return currents_after

    def fire_counts(self, currents: Tensor, ops: Operators) -> Tensor:
        """Return how often each neuron spiked in all time steps, ``[B, N * ...]``."""
        affine = self._affine(currents, ops)
        if affine is None:
            return ops.counts(self.fire(currents, ops)).flatten(1)
        counts, mean, var = ops.fire_counts(currents, self._fused(affine))
        self._store_results(affine, [mean, var, counts], currents)
        return counts

    def for_acting(self) -> InferenceLayer | None:
        """Return the layer for the operator that runs a whole network without gradients; ``None``:
        it cannot, as this is a convolution, as its neurons are connected, or as statistics would
        move or mix samples."""
        linear, norm = self.linear, self.norm
        if not isinstance(linear, nn.Linear) or not isinstance(norm, Norm) or self._counts:
            return None
        if self.lateral is not None:
            return None
        constant = norm.known_constant()
        if constant is None:
            return None
        return InferenceLayer(linear.weight, linear.bias, *constant, self._constants())

    def _affine(self, currents: Tensor, ops: Operators) -> Affine | None:
        if not isinstance(self.norm, Norm) or self.lateral is not None:
            return None
        affine = self.norm.fusable(currents)
        if affine is None or (affine.has_steps() and not ops.NORMALISES_STEPS):
            return None
        if affine.renormalises and not ops.RENORMALISES:
            return None
        return affine if self._computes_neurons(ops) else None

    def _computes_neurons(self, ops: Operators) -> bool:
        """Return whether the operators compute its neurons, and not torch."""
        return ops.LEARNS or not self._constants().learns()

    def _fused(self, affine: Affine) -> FusedLayer:
        statistics, gamma, beta, eps, per_step, renormalises = affine
        dynamics = self._constants()
        return FusedLayer(statistics, gamma, beta, eps, dynamics, per_step, renormalises)

    def _store_results(self, affine: Affine, seen: list[Tensor], currents: Tensor) -> None:
        """Store an operator's further results: mean, variance, and spikes over time ``[B, N]`` if
        counted."""
        mean, var, *counts = seen
        if affine.statistics is None:
            self.norm.saw(mean, var, currents)
        if self._counts:
            self.rates = counts[0].mean(0) / len(currents)

    def _constants(self) -> Dynamics:
        constants = self.neuron.known()
        assert constants is not None
        return constants


class PooledConv2d(nn.Conv2d):
    """A convolution of images that are averaged over squares before it.

    :param pool: side of the squares
    :param convolution: parameters of ``nn.Conv2d``
    """

    def __init__(self, pool: int, **convolution: Any):
        super().__init__(**convolution)
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(F.avg_pool2d(images, self.pool))


def convolution(pool: int, **parameters: Any) -> nn.Conv2d:
    """Return ``nn.Conv2d``, of images that are averaged over squares before where ``pool`` is more
    than 1."""
    return PooledConv2d(pool, **parameters) if pool > 1 else nn.Conv2d(**parameters)


class LayerParts(NamedTuple):
    """Components of the layers of a network.

    :param neuron, surrogate: names, classes, or mappings with parameters
    :param norm: normalisation of every layer
    :param time_steps: T
    :param regulated: whether a regulation moves the thresholds
    """

    neuron: Spec
    surrogate: Spec
    norm: NormStrategy
    time_steps: int
    regulated: bool = False

    def dense(self, inputs: int, features: int, behind: nn.Module | None = None) -> SpikingLayer:
        """Make a layer of ``features`` neurons that each read all inputs.

        :param behind: what makes the inputs, ``[B, inputs]``, of the spikes of one step, if
            anything does
        :raises UserError: unknown name or parameter, another type or a value out of bounds
        """
        linear: nn.Module = nn.Linear(inputs, features, bias=self.norm.layer.linear_bias)
        if behind is not None:
            linear = nn.Sequential(behind, linear)
        return self._layer(linear, LayerShape(features, self.time_steps))

    def convolution(
        self,
        inputs: int,
        channels: int,
        kernel: int,
        stride: int,
        padding: int = 0,
        pool: int = 1,
    ) -> SpikingLayer:
        """Make a convolution: a neuron at every place of each channel.

        :param inputs: input channels
        :param kernel: side of the square kernel, pixels
        :param stride: pixels between two places
        :param padding: zeros on each side
        :param pool: side of the squares over which the inputs are averaged before
        :raises UserError: as :meth:`dense`
        """
        bias = self.norm.layer.linear_bias
        linear = convolution(
            pool,
            in_channels=inputs,
            out_channels=channels,
            kernel_size=kernel,
            stride=stride,
            padding=padding,
            bias=bias,
        )
        return self._layer(linear, LayerShape(channels, self.time_steps, is_image=True))

    def _layer(self, linear: nn.Module, shape: LayerShape) -> SpikingLayer:
        neuron = make_neuron(self.neuron, self.surrogate, shape, regulated=self.regulated)
        norm = self.norm.make(shape, neuron.threshold.value)
        if norm.of_membranes:
            neuron.surrogate = OfNormalised(norm, neuron.surrogate)
            norm = NoNorm(shape, neuron.threshold.value)
        return SpikingLayer(linear, norm, neuron)


def has_fused(neuron: Spec, surrogate: Spec, norms: Iterable[Spec]) -> bool:
    """Return whether the fused operators support layers of these neurons behind these
    normalisations.

    :raises UserError: as :func:`make_neuron`
    """
    known = make_neuron(neuron, surrogate, LayerShape(1, 1)).known() is not None
    return known and not any(make_strategy(norm).layer.of_membranes for norm in norms)
