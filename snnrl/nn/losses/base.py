"""Base class of the loss terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snnrl.nn.traces import Rates, Trace, counted, traced


class Pass(NamedTuple):
    """Rates and traces of the pass that the loss is about.

    :param rates: name of the layer -> spikes of each neuron per time step, ``[N, ...]``
    :param traces: name of the layer -> its trace, where a term asks for traces
    """

    rates: Rates
    traces: dict[str, Trace]


class LossTerm(nn.Module):
    """A term added to the loss of a spiking network.

    ``needs_traces``: it reads traces, so that the pass runs by the naive kernel.
    """

    needs_traces: ClassVar[bool] = False

    def forward(self, seen: Pass) -> Tensor:
        """Return the term, ``[]``, weight included."""
        raise NotImplementedError

    def example(self) -> Pass:
        """Return what it reads of a random pass of two steps, three inputs and one layer of four
        neurons."""
        shape = (2, 3, 4)
        spikes = torch.rand(shape).round()
        trace = Trace(torch.randn(shape), torch.randn(shape), spikes, spikes)
        return Pass({"layers.0": trace.rates}, {"layers.0": trace} if self.needs_traces else {})


@contextmanager
def watched(network: nn.Module, terms: Sequence[LossTerm]) -> Iterator[Callable[[], Tensor | None]]:
    """Context in which passes of ``network`` record what the terms read.

    :return: called inside, after the pass: the sum of the terms, ``[]``; ``None`` without terms
    """
    with ExitStack() as stack:
        rates = stack.enter_context(counted(network)) if terms else dict
        needs_traces = any(term.needs_traces for term in terms)
        traces = stack.enter_context(traced(network)) if needs_traces else {}

        def total() -> Tensor | None:
            seen = Pass(rates(), traces)
            values = [term(seen) for term in terms]
            return sum(values[1:], values[0]) if values else None

        yield total
