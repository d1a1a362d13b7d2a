"""Conversion of ordinary networks: ReLUs become integrate-and-fire neurons.

Each ReLU becomes a neuron that fires whenever its membrane potential is above its threshold, and
is then reset by subtraction. The input of the network is constant over the time steps, and the
output is read from the mean over time of what the last neurons send out, so a neuron's rate times
its threshold stands for the activation of the ReLU.

Source: CRPI (arXiv 2601.21778), with its residual correction: the part of the input that has not
become spikes is carried to the next action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snnrl.errors import UserError
from snnrl.nn.norm import Norm

LINEAR = (nn.Linear, nn.Conv2d, nn.AvgPool2d, nn.Flatten, nn.Identity)
"""Modules that may stand between ReLUs: their mean over time is that of their mean input."""


class Fired(NamedTuple):
    """Neurons of a layer after the last time step.

    :param spikes: 0 or the threshold, ``[T, B, N, ...]``
    :param membrane: membrane potential, ``[B, N, ...]``
    """

    spikes: Tensor
    membrane: Tensor


class Layer(NamedTuple):
    """A ReLU that is converted.

    :param activation: the module
    :param threshold: its largest activation, ``[N, ...]``
    """

    activation: nn.ReLU
    threshold: Tensor


def integrate_and_fire(currents: Tensor, start: Tensor, threshold: Tensor) -> Fired:
    """Return the spikes of ``m += x; out = threshold (m > threshold); m -= out``.

    :param currents: x, ``[T, B, N, ...]``
    :param start: membrane potential before the first step, ``[B, N, ...]``
    :param threshold: ``[N, ...]``
    """
    membrane, spikes = start, []
    for current in currents:
        membrane = membrane + current
        spikes.append(torch.where(membrane > threshold, threshold, 0.0))
        membrane = membrane - spikes[-1]
    return Fired(torch.stack(spikes), membrane)


def corrected_start(start: Tensor, fired: Fired, threshold: Tensor, correction: float) -> Tensor:
    """Return the membrane potentials ``[B, N, ...]`` before the next action's first step.

    ``threshold / 2 + clip(correction r, -threshold / 2, threshold / 2)``, where the residual
    ``r = max(m_T - m_0, -sum of spikes)`` is input that fired no spike, or spikes too many.

    :param start: those before this action's first step
    :param correction: 0 to 1; 0: every action starts at half the threshold
    """
    residual = torch.maximum(fired.membrane - start, -fired.spikes.sum(0))
    half = threshold / 2
    return half + torch.clamp(correction * residual, -half, half)


@torch.no_grad()
def find_layers(
    network: nn.Module, run: Callable[[Any], object], inputs: Iterable[Any]
) -> list[Layer]:
    """Return the ReLUs that passes call, in their order, with their largest activations.

    :param network: in evaluation mode
    :param run: a pass of the network
    :param inputs: what it is called with, at least one, each a batch
    :raises UserError: a module that cannot be converted, a ReLU that is called twice, or none
    """
    called: list[tuple[str, nn.Module]] = []
    largest: dict[nn.Module, Tensor] = {}

    def see(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, given: Any) -> None:
            called.append((name, module))
            if isinstance(module, nn.ReLU):
                active = given[0].amax(0).clamp(min=0)
                largest[module] = torch.maximum(active, largest.get(module, active))

        return hook

    leaves = dict(_leaves(network))
    with _removed(m.register_forward_pre_hook(see(name)) for name, m in leaves.items()):
        for each in inputs:
            called.clear()
            run(each)
    return [Layer(module, largest[module]) for module in _checked(called)]


def _leaves(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that compute, by name; a normalisation is one."""
    children = list(module.named_children())
    if isinstance(module, Norm) or not children:
        yield prefix, module
        return
    for name, child in children:
        yield from _leaves(child, f"{prefix}.{name}" if prefix else name)


def _checked(called: Sequence[tuple[str, nn.Module]]) -> list[nn.ReLU]:
    """Return the ReLUs of a pass.

    :param called: its modules, in their order
    :raises UserError: as :func:`find_layers`
    """
    found = [module for _, module in called if isinstance(module, nn.ReLU)]
    last = max((i for i, (_, m) in enumerate(called) if m in found), default=len(called) - 1)
    for name, module in called[: last + 1]:
        if not isinstance(module, nn.ReLU) and not _is_linear(module):
            raise UserError(
                f"{name} ({type(module).__name__}): cannot be converted; expected ReLUs, and "
                "between them only linear maps and batch normalisations"
            )
    if not found:
        raise UserError("no ReLU to convert: expected an actor with a hidden layer")
    if len(set(found)) < len(found):
        raise UserError("a ReLU is called twice in a pass; expected a module for each layer")
    return found


def _is_linear(module: nn.Module) -> bool:
    if isinstance(module, Norm):
        return module.known_constant() is not None
    return isinstance(module, LINEAR)


@contextmanager
def firing(
    layers: Sequence[Layer], time_steps: int, starts: Sequence[Tensor] | None
) -> Iterator[list[tuple[Tensor, Fired]]]:
    """Context in which a pass of the network takes time steps, and its ReLUs fire.

    Yields what a pass fills: each layer's membrane potentials before the first step, and its
    neurons after the last one.

    :param layers: of :func:`find_layers`
    :param starts: membrane potentials before the first step, ``[B, N, ...]`` each; ``None``: half
        the thresholds
    :raises UserError: from a pass, potentials of another number of inputs
    """
    done: list[tuple[Tensor, Fired]] = []

    def hook_of(number: int) -> Callable[[nn.Module, Any], Tensor]:
        threshold = layers[number].threshold

        def hook(module: nn.Module, given: Any) -> Tensor:
            (x,) = given
            # The first one's input is the same in each step. A ReLU leaves spikes as they are.
            steps = (1, -1) if number == 0 else (time_steps, -1)
            currents = x.unflatten(0, steps).expand(time_steps, -1, *x.shape[1:])
            shape = currents.shape[1:]
            start = (threshold / 2).expand(shape) if starts is None else starts[number]
            if start.shape != shape:
                raise UserError(
                    f"state: has membrane potentials {tuple(start.shape)}; expected {tuple(shape)}"
                )
            fired = integrate_and_fire(currents, start, threshold)
            done.append((start, fired))
            is_last = number == len(layers) - 1
            return fired.spikes.mean(0) if is_last else fired.spikes.flatten(0, 1)

        return hook

    handles = (
        layer.activation.register_forward_pre_hook(hook_of(number))
        for number, layer in enumerate(layers)
    )
    with _removed(handles):
        yield done


@contextmanager
def _removed(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Context at whose end hooks are removed."""
    registered = list(handles)
    try:
        yield
    finally:
        for handle in registered:
            handle.remove()
