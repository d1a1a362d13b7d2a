"""One pass of a spiking network with what an inspection needs of it, gradients included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snnrl.nn.lateral import OfLaterStep
from snnrl.nn.layers import SpikingLayer
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import Norm
from snnrl.nn.norm.membranes import OfNormalised
from snnrl.nn.norm.none import NoNorm
from snnrl.nn.surrogates import Surrogate
from snnrl.nn.traces import traced

INSIDE = 0.1
"""Share of a surrogate's peak above which a membrane potential is inside its window. Below it a
spike's gradient is less than a tenth of what it can be. Of the surrogates with an edge
(rectangular, triangle) it is all, or nine tenths, of the width; the others have no edge."""

SEARCHED, POINTS = 4.0, 801
"""Where a surrogate's peak and window are looked for: up to this many thresholds on both sides of
zero, at as many points."""


class LayerPass(NamedTuple):
    """One spiking layer in one pass, each ``[T, B, N, ...]``.

    :param before, after: what its normalisation takes in and gives: currents, or with ``bn=mpbn``
        membrane potentials; ``None`` without a normalisation
    :param membranes: membrane potentials before the reset, as they are compared with the threshold
    :param fired: 1 where the neurons fired and 0 elsewhere
    :param inside: true where a membrane potential is inside the surrogate's window
    :param gradients: of the loss by the currents that the neurons take in
    """

    before: Tensor | None
    after: Tensor | None
    membranes: Tensor
    fired: Tensor
    inside: Tensor
    gradients: Tensor


def inspect_pass(network: SpikingNetwork, x: Tensor) -> dict[str, LayerPass]:
    """Return what every spiking layer does in a pass in evaluation mode, and its gradients.

    The loss is half the sum of the squared outputs, over the batch too, ``L = sum(y^2) / 2``: the
    gradient at the outputs is the outputs themselves. So gradients of the inputs of a batch do not
    depend on each other, unless a normalisation takes them through statistics of the batch (PPO).

    :param x: inputs ``[B, ...]``
    :return: name of the layer -> what it did
    :raises UserError: a neuron whose membrane potentials are unknown, see :func:`traced`
    """
    layers = {n: m for n, m in network.named_modules() if isinstance(m, SpikingLayer)}
    watches = {name: _Watch(layer) for name, layer in layers.items()}
    try:
        with evaluation_mode(network), traced(network) as traces, torch.enable_grad():
            loss = network(x).square().sum() / 2
    finally:
        for watch in watches.values():
            watch.remove()
    gradients = _gradients(loss, [watch.currents for watch in watches.values()])
    return {
        name: LayerPass(
            *watches[name].normalised(),
            torch.stack([membrane for membrane, _, _ in watches[name].compared]).detach(),
            traces[name].fired.detach(),
            _inside(layer, watches[name].compared),
            gradient,
        )
        for (name, layer), gradient in zip(layers.items(), gradients, strict=True)
    }


def norm_of(layer: SpikingLayer) -> Norm | None:
    """Return the normalisation of a layer, of currents or of membrane potentials; ``None``: it has
    none."""
    surrogate = layer.neuron.surrogate
    while isinstance(surrogate, OfLaterStep | OfNormalised):
        if isinstance(surrogate, OfNormalised):
            return surrogate.norm
        surrogate = surrogate.surrogate
    return None if isinstance(layer.norm, NoNorm) else layer.norm


def window_of(layer: SpikingLayer) -> list[tuple[float, float]]:
    """Return the membrane potentials inside the surrogate's window, from lowest to highest.

    They are those of the first neuron in the first time step.

    :return: lower and upper end of each stretch
    """
    grid, steep = _steepness(layer, 0)
    potentials, of_first = grid.tolist(), steep.flatten(1)[:, 0]
    inside = (of_first > INSIDE * of_first.max()).tolist()
    stretches: list[tuple[float, float]] = []
    previous = False
    for potential, now in zip(potentials, inside, strict=True):
        if now:
            low = stretches.pop()[0] if previous else potential
            stretches.append((low, potential))
        previous = now
    return stretches


class _Watch:
    """What one layer takes in and compares in a pass."""

    def __init__(self, layer: SpikingLayer):
        self.currents: list[Tensor] = []
        self.compared: list[tuple[Tensor, float | Tensor, int]] = []
        self._before: list[Tensor] = []
        self._after: list[Tensor] = []
        self._handles: list[RemovableHandle] = [
            layer.neuron.register_forward_hook(
                lambda _, inputs, output: self.currents.append(inputs[0])
            ),
            _surrogate(layer).register_forward_hook(
                lambda _, inputs, output: self.compared.append(inputs)
            ),
        ]
        norm = norm_of(layer)
        if norm is not None:
            self._handles.append(norm.register_forward_hook(self._normalises))

    def _normalises(self, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        self._before.append(inputs[0].detach())
        self._after.append(output.detach())

    def normalised(self) -> tuple[Tensor | None, Tensor | None]:
        if not self._before:
            return None, None
        return torch.cat(self._before), torch.cat(self._after)

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


def _surrogate(layer: SpikingLayer) -> Surrogate:
    """Return what compares membrane potentials with the threshold, behind any normalisation."""
    surrogate: Surrogate = layer.neuron.surrogate
    while isinstance(surrogate, OfLaterStep | OfNormalised):
        surrogate = surrogate.surrogate
    return surrogate


def _gradients(loss: Tensor, currents: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Return the gradients of each layer's currents, ``[T, B, N, ...]``; 0 where none arrives."""
    flat = [each for of_layer in currents for each in of_layer]
    found = torch.autograd.grad(loss, flat, allow_unused=True)
    filled = iter(
        torch.zeros_like(current) if gradient is None else gradient
        for current, gradient in zip(flat, found, strict=True)
    )
    return [torch.cat([next(filled) for _ in of_layer]).detach() for of_layer in currents]


def _inside(layer: SpikingLayer, compared: Sequence[tuple[Tensor, float | Tensor, int]]) -> Tensor:
    surrogate = _surrogate(layer)
    inside = []
    for membrane, threshold, step in compared:
        _, steep = _steepness(layer, step)
        peak = steep.amax(0)
        inside.append(_derivative(surrogate, membrane, threshold, step) > INSIDE * peak)
    return torch.stack(inside)


def _steepness(layer: SpikingLayer, step: int) -> tuple[Tensor, Tensor]:
    """Return membrane potentials ``[points]`` and the derivative of each neuron's spike there,
    ``[points, N, ...]``, one place of an image for all."""
    level = torch.as_tensor(layer.neuron.threshold.level()).detach()
    # The threshold itself is where most derivatives have their peak.
    grid = torch.cat([torch.linspace(-SEARCHED, SEARCHED, POINTS) * level, level[None]])
    grid = grid.sort().values
    shape = layer.neuron.shape
    places = [1, 1] if shape.is_image else []
    membranes = grid.view(-1, 1, *places).expand(-1, shape.features, *places)
    return grid, _derivative(_surrogate(layer), membranes, level, step)


def _derivative(
    surrogate: Surrogate, membrane: Tensor, threshold: float | Tensor, step: int
) -> Tensor:
    """Return the absolute derivative of spikes by their own membrane potentials."""
    level = threshold.detach() if isinstance(threshold, Tensor) else threshold
    potential = membrane.detach().clone().requires_grad_()
    with torch.enable_grad():
        spikes = surrogate(potential, level, step)
        (gradient,) = torch.autograd.grad(spikes.sum(), potential)
    return gradient.abs()
