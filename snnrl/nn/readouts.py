"""Readouts: from the spikes of the last layer to values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

import torch
from torch import Tensor, nn

from snnrl.errors import UserError, expect
from snnrl.nn.answers import answers
from snnrl.nn.operators import Operators
from snnrl.nn.registry import Spec, split_spec
from snnrl.parameters import Between, check_parameters, parameters_of


class Readout(nn.Module):
    """Values computed from each neuron's spikes, with their signs.

    A readout writes :meth:`read` if the number of a neuron's spikes in all time steps is enough,
    and :meth:`read_steps` otherwise.
    """

    def forward(self, spikes: Tensor) -> Tensor:
        """Return values ``[B, A]`` of spikes ``[T, B, N]``."""
        return self.read_steps(spikes)

    def read_steps(self, spikes: Tensor) -> Tensor:
        """Return values ``[B, A]`` of spikes ``[T, B, N]``."""
        return self.read(spikes.sum(0), len(spikes))

    def read(self, counts: Tensor, time_steps: int) -> Tensor:
        """Return values ``[B, A]`` of each neuron's spikes in all time steps ``[B, N]``."""
        raise NotImplementedError

    def read_by(self, ops: Operators, counts: Tensor, time_steps: int) -> Tensor:
        """Return :meth:`read`, by a fused operator where there is one."""
        return self.read(counts, time_steps)

    def formula(self) -> dict[str, Any] | None:
        """Return the parameters of :class:`snnrl.deploy.runtime.Readout`, which computes the same
        without torch; ``None``: it does not."""
        return None

    def known_formula(self) -> dict[str, Any] | None:
        """Return :meth:`formula` if it still describes :meth:`forward`."""
        own = ("read_steps", "read")
        return self.formula() if self.is_known() and answers(self, "formula", *own) else None

    def is_known(self) -> bool:
        """Return whether :meth:`read_steps` or :meth:`read` still describes :meth:`forward`."""
        return answers(self, "read_steps") or answers(self, "read")

    def reads_counts(self) -> bool:
        """Return whether :meth:`read` still describes :meth:`forward`."""
        return answers(self, "read", "read_steps")


class PopulationReadout(Readout):
    """Base of readouts of P neurons for each output: a weight for each, and a bias.

    :param outputs: number of outputs A
    :param population: neurons P for each output
    """

    def __init__(self, outputs: int, population: int = 10):
        super().__init__()
        bound = 1 / math.sqrt(population)
        self.weight = nn.Parameter(torch.empty(outputs, population).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        outputs, population = self.weight.shape
        return f"{outputs}, population={population}"


class PopulationDecoder(PopulationReadout):
    """Mean firing rates of P neurons per output, weighted and summed, with a bias.

    Source: PopSAN (Tang et al. 2020). The bound on actions (tanh) is the caller's.
    """

    def formula(self) -> dict[str, Any]:
        return dict(kind="population", weight=self.weight, bias=self.bias)

    def read(self, counts: Tensor, time_steps: int) -> Tensor:
        """Return values ``[B, A]`` of each neuron's spikes in all time steps ``[B, A * P]``."""
        rates = (counts / time_steps).unflatten(1, self.weight.shape)
        values: Tensor = (rates * self.weight).sum(-1) + self.bias
        return values

    def read_by(self, ops: Operators, counts: Tensor, time_steps: int) -> Tensor:
        if ops.CODES_POPULATIONS and answers(self, "read_by", "read"):
            return ops.decode(counts, self.weight, self.bias, time_steps)
        return self.read(counts, time_steps)


class SpikeCountReadout(Readout):
    """A linear map of the spikes that each neuron of the last hidden layer made: ``W n + b``.

    Source: the discrete-control network of CaRe-BN (arXiv 2509.23791).

    :param features: neurons of the last hidden layer N
    :param outputs: number of outputs A
    """

    def __init__(self, features: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(features, outputs)

    def formula(self) -> dict[str, Any]:
        return dict(kind="linear", weight=self.linear.weight, bias=self.linear.bias)

    def read(self, counts: Tensor, time_steps: int) -> Tensor:
        """Return values ``[B, A]`` of each neuron's spikes in all time steps ``[B, N]``."""
        values: Tensor = self.linear(counts)
        return values


class MembraneReadout(PopulationReadout):
    """Membrane potential of a non-spiking integrator for each output.

    ``m[t] = decay m[t-1] + w s[t] + b``, of P neurons per output, from rest.

    Source: ILC-SAN (Chen et al. 2024), whose default is the last potential without decay.

    :param outputs: number of outputs A
    :param population: neurons P for each output
    :param value: what is read: the ``last`` potential, the one of largest magnitude with its sign
        (``max``; of two equal ones the negative), or the ``mean`` over time
    :param decay: share of the membrane potential kept in a step
    """

    def __init__(
        self,
        outputs: int,
        population: int = 10,
        value: Literal["last", "max", "mean"] = "last",
        decay: Annotated[float, Between(0, 1)] = 1.0,
    ):
        super().__init__(outputs, population)
        self.value = value
        self.decay = decay

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"{super().extra_repr()}, value={self.value}, decay={self.decay:g}"

    def formula(self) -> dict[str, Any]:
        weights = dict(weight=self.weight, bias=self.bias)
        return dict(weights, kind="membrane", value=self.value, decay=self.decay)

    def read_steps(self, spikes: Tensor) -> Tensor:
        """Return values ``[B, A]`` of spikes ``[T, B, A * P]``."""
        inputs = (spikes.unflatten(2, self.weight.shape) * self.weight).sum(-1) + self.bias
        membrane = torch.zeros_like(inputs[0])
        potentials = []
        for step in inputs.unbind(0):
            membrane = self.decay * membrane + step
            potentials.append(membrane)
        if self.value == "last":
            return membrane
        over_time = torch.stack(potentials)
        if self.value == "mean":
            return over_time.mean(0)
        highest, lowest = over_time.max(0).values, over_time.min(0).values
        return torch.where(highest.abs() > lowest.abs(), highest, lowest)


READOUTS: dict[str, type[Readout]] = {
    "population": PopulationDecoder,
    "linear": SpikeCountReadout,
    "membrane": MembraneReadout,
}
CONTEXT = ("outputs", "population", "features")
"""Parameters given by the network, never by the user."""


def make_readout(spec: Spec, outputs: int, population: int, features: int) -> Readout:
    """Make a readout.

    :param spec: a name, or a mapping with it and with parameters
    :param population: neurons for each output, of those that read populations
    :param features: neurons of the last layer, of those that read all of them
    :raises UserError: as :func:`readout_name`
    """
    maker = READOUTS[readout_name(spec)]
    _, parameters = split_spec(spec, "readout")
    context = dict(outputs=outputs, population=population, features=features)
    takes = parameters_of(maker)
    return maker(**parameters, **{key: value for key, value in context.items() if key in takes})


def check_time_steps(spec: Spec, time_steps: int) -> None:
    """Check that the parameters of a readout act.

    :param spec: a readout that :func:`readout_name` accepts
    :raises UserError: one chooses between time steps, of which there is one
    """
    name, parameters = split_spec(spec, "readout")
    known = parameters_of(READOUTS[name])
    for key, value in parameters.items():
        if time_steps == 1 and value != known[key].default:
            raise UserError(
                f"readout.{key}={value}: has no effect with time_steps=1, of which each potential "
                f"is the last; expected readout.{key}={known[key].default}, or time_steps=2 or more"
            )


def readout_name(spec: Spec, others: tuple[str, ...] = ()) -> str:
    """Return the name of a readout.

    :param others: further names
    :raises UserError: unknown name or parameter, another type or a value out of bounds
    """
    if not isinstance(spec, Mapping):
        expect("readout", cast(str, spec), [*others, *READOUTS])
        return cast(str, spec)
    name, parameters = split_spec(spec, "readout")
    expect("readout", name, READOUTS)
    check_parameters("readout", name, READOUTS[name], parameters, context=CONTEXT)
    return str(name)
