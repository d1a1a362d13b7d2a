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

MAPS = (nn.Linear, nn.Conv2d)
"""Modules with weights."""

LINEAR = (*MAPS, nn.AvgPool2d, nn.Flatten, nn.Identity, nn.Dropout, nn.Sequential)
"""Modules that may stand between ReLUs: their mean over time is that of their mean input. Drop-out
does nothing in evaluation mode, and a sequence counts here if it is empty."""


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
    network: nn.Module, run: Callable[[Any], Any], inputs: Sequence[Any]
) -> list[Layer]:
    """Return the ReLUs that passes call, in their order, with their largest activations.

    :param network: in evaluation mode
    :param run: a pass of the network, which returns its outputs as an array
    :param inputs: what it is called with, at least one, each a batch
    :raises UserError: a module that cannot be converted, a ReLU that is called twice, or none;
        layers that are no chain; an activation that is not finite
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
    found = _checked(called)
    for name, module in found:
        if not largest[module].isfinite().all():
            raise UserError(f"{name} (ReLU): has activations that are not finite; expected numbers")
    layers = [Layer(module, largest[module]) for _, module in found]
    for each in inputs:
        _check_chain([name for name, _ in found], layers, run, each)
    return layers


def _leaves(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that compute, by name; a normalisation is one."""
    children = list(module.named_children())
    if isinstance(module, Norm) or not children:
        yield prefix, module
        return
    for name, child in children:
        yield from _leaves(child, f"{prefix}.{name}" if prefix else name)


def _checked(called: Sequence[tuple[str, nn.Module]]) -> list[tuple[str, nn.ReLU]]:
    """Return the ReLUs of a pass, by name.

    What is behind the last map, such as a tanh of the outputs, may be anything.

    :param called: its modules, in their order
    :raises UserError: as :func:`find_layers`
    """
    found = [(name, module) for name, module in called if isinstance(module, nn.ReLU)]
    computing = [i for i, (_, m) in enumerate(called) if isinstance(m, (nn.ReLU, *MAPS))]
    for name, module in called[: max(computing, default=len(called) - 1) + 1]:
        if not isinstance(module, nn.ReLU) and not _is_linear(module):
            raise UserError(
                f"{name} ({type(module).__name__}): cannot be converted; expected ReLUs, and "
                "between them only linear maps and batch normalisations"
            )
    if not found:
        raise UserError("no ReLU to convert: expected an actor with a hidden layer")
    if len({module for _, module in found}) < len(found):
        raise UserError("a ReLU is called twice in a pass; expected a module for each layer")
    return found


def _is_linear(module: nn.Module) -> bool:
    if isinstance(module, Norm):
        return module.known_constant() is not None
    return isinstance(module, LINEAR)


def _check_chain(
    names: Sequence[str], layers: Sequence[Layer], run: Callable[[Any], Any], given: Any
) -> None:
    """Check that each ReLU sees what the one before sends through maps that keep a mean over time.

    Functions that are no modules, such as ``torch.abs``, and branches are found so. In two time
    steps each ReLU sends twice its activation and nothing, whose mean is the activation. So the
    next one sees the mean that it sees without time steps, and the outputs are the same.

    :param names: of the ReLUs
    :param given: a batch of inputs
    :raises UserError: it does not, or the outputs differ
    """
    usual: list[Tensor] = []

    def keep(number: int, currents: Tensor) -> Tensor:
        usual.append(currents[0])
        return currents.relu()

    def alternate(number: int, currents: Tensor) -> Tensor:
        if not _alike(currents.mean(0), usual[number]):
            raise _no_chain(f"{names[number]} (ReLU)")
        active = usual[number].relu()
        return torch.stack([2 * active, torch.zeros_like(active)])

    with _sending(layers, 1, keep):
        expected = torch.as_tensor(run(given))
    try:
        with _sending(layers, 2, alternate):
            outputs = torch.as_tensor(run(given))
    except RuntimeError:
        # The same pass without time steps has just been made: shapes do not fit.
        raise _no_chain("the network") from None
    # An argmax may differ by rounding.
    same = _alike if expected.is_floating_point() else _of_one_shape
    if not same(outputs, expected):
        raise _no_chain("the network")


def _no_chain(name: str) -> UserError:
    return UserError(
        f"{name}: is not fed by the ReLU before through linear maps alone; expected a chain of "
        "layers, ReLUs with only linear maps and batch normalisations between them"
    )


def _alike(x: Tensor, expected: Tensor) -> bool:
    """Return whether two tensors are equal but for rounding."""
    if not _of_one_shape(x, expected):
        return False
    return torch.allclose(x, expected, rtol=0, atol=1e-3 * float(expected.abs().max()))


def _of_one_shape(x: Tensor, other: Tensor) -> bool:
    return x.shape == other.shape


@torch.no_grad()
def share_above(
    layers: Sequence[Layer], run: Callable[[Any], object], inputs: Sequence[Any]
) -> float:
    """Return the share of activations above their thresholds, which no spikes can stand for.

    :param run: a pass of the ordinary network
    :param inputs: what it is called with, at least one, each a batch
    """
    above, activations = [], 0

    def hook_of(threshold: Tensor) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, given: Any) -> None:
            nonlocal activations
            above.append(int((given[0] > threshold).sum()))
            activations += given[0].numel()

        return hook

    with _removed(a.register_forward_pre_hook(hook_of(threshold)) for a, threshold in layers):
        for each in inputs:
            run(each)
    return sum(above) / activations


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

    def fire(number: int, currents: Tensor) -> Tensor:
        threshold, shape = layers[number].threshold, currents.shape[1:]
        start = (threshold / 2).expand(shape) if starts is None else starts[number]
        if start.shape != shape:
            raise UserError(
                f"state: has membrane potentials {tuple(start.shape)}; expected {tuple(shape)}"
            )
        fired = integrate_and_fire(currents, start, threshold)
        done.append((start, fired))
        return fired.spikes

    with _sending(layers, time_steps, fire):
        yield done


@contextmanager
def _sending(
    layers: Sequence[Layer], time_steps: int, send: Callable[[int, Tensor], Tensor]
) -> Iterator[None]:
    """Context in which a pass of the network takes time steps.

    :param send: what a ReLU sends in each step, ``[T, B, N, ...]``, by its number and its inputs
        ``[T, B, N, ...]``; not below 0, which a ReLU leaves as it is. Behind the last one follows
        its mean over time.
    """

    def hook_of(number: int) -> Callable[[nn.Module, Any], Tensor]:
        def hook(module: nn.Module, given: Any) -> Tensor:
            (x,) = given
            # The first one's input is the same in each step.
            steps = (1, -1) if number == 0 else (time_steps, -1)
            currents = x.unflatten(0, steps).expand(time_steps, -1, *x.shape[1:])
            sent = send(number, currents)
            return sent.mean(0) if number == len(layers) - 1 else sent.flatten(0, 1)

        return hook

    handles = (
        layer.activation.register_forward_pre_hook(hook_of(number))
        for number, layer in enumerate(layers)
    )
    with _removed(handles):
        yield


@contextmanager
def _removed(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Context at whose end hooks are removed."""
    registered = list(handles)
    try:
        yield
    finally:
        for handle in registered:
            handle.remove()
