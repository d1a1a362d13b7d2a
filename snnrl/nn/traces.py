"""Recordings of layers in a pass: rates with any kernel, traces with the naive one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snnrl.errors import UserError
from snnrl.nn.eager import eager
from snnrl.nn.layers import SpikingLayer


class Trace(NamedTuple):
    """One layer in one pass, each ``[T, B, N, ...]``; gradients flow through all of them.

    :param currents: what the neurons take in: normalised, with those of lateral connections
    :param membranes: membrane potentials before the reset
    :param spikes: what the neurons send out: 0 or 1, of some neurons also other numbers
    :param fired: 1 where the neurons fired and 0 elsewhere
    """

    currents: Tensor
    membranes: Tensor
    spikes: Tensor
    fired: Tensor

    @property
    def rates(self) -> Tensor:
        """How often each neuron fired per time step, ``[N, ...]``."""
        return self.fired.mean((0, 1))


@contextmanager
def traced(network: nn.Module) -> Iterator[dict[str, Trace]]:
    """Context in which passes of ``network`` run the naive kernel and record traces.

    ``with traced(network) as traces: network(x)``; then ``traces["layers.0"].membranes``. The
    last pass counts. Membrane potentials are what neurons hand to ``self.surrogate``.

    :return: name of the layer -> its trace
    :raises UserError: from a pass, a neuron that does not ask its surrogate once a time step
    """
    traces: dict[str, Trace] = {}
    handles: list[RemovableHandle] = []
    for name, module in network.named_modules():
        if isinstance(module, SpikingLayer):
            handles += _watch(name, module, traces)
    try:
        with eager(network):
            yield traces
    finally:
        for handle in handles:
            handle.remove()


def _watch(name: str, layer: SpikingLayer, traces: dict[str, Trace]) -> list[RemovableHandle]:
    membranes: list[Tensor] = []
    calls: list[tuple[Tensor, Tensor]] = []

    def start(module: nn.Module, inputs: Any) -> None:
        membranes.clear()
        calls.clear()

    def step(module: nn.Module, inputs: Any, output: Tensor) -> None:
        membranes.append(inputs[0])

    def called(module: nn.Module, inputs: Any, output: Any) -> None:
        calls.append((inputs[0], output[0]))

    def end(module: nn.Module, inputs: Any, output: Any) -> None:
        currents, spikes = (torch.cat(parts) for parts in zip(*calls, strict=True))
        if len(membranes) != len(currents):
            raise UserError(
                f"{name}.neuron ({type(layer.neuron).__name__}): called its surrogate "
                f"{len(membranes)} times in {len(currents)} time steps, so its membrane potentials "
                "are unknown; expected self.surrogate(membrane, self.threshold.level(), step) once "
                "a step"
            )
        traces[name] = Trace(currents, torch.stack(membranes), spikes, layer.fired(spikes))

    return [
        layer.neuron.surrogate.register_forward_hook(step),
        layer.neuron.register_forward_hook(called),
        layer.register_forward_pre_hook(start),
        layer.register_forward_hook(end),
    ]


Rates = dict[str, Tensor]
"""How often each neuron fired per time step, ``[N, ...]``, by the name of the layer."""


@contextmanager
def counted(network: nn.Module) -> Iterator[Callable[[], Rates]]:
    """Context in which passes of ``network`` count how often neurons fire, with any kernel.

    ``with counted(network) as rates: network(x)``, and, still inside, ``rates()``: the firing rates
    of the last pass, through which gradients flow.
    """
    layers = {n: m for n, m in network.named_modules() if isinstance(m, SpikingLayer)}

    def rates() -> Rates:
        return {name: layer.rates for name, layer in layers.items() if layer.rates is not None}

    with ExitStack() as stack:
        for layer in layers.values():
            stack.enter_context(layer.counting())
        yield rates
