"""Base class of the encoders."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snnrl.nn.answers import answers
from snnrl.nn.operators import Operators


class Drive(NamedTuple):
    """Input of a network's first layer, for an operator that computes all steps itself.

    :param values: ``[B, K]``
    :param threshold: of an encoder that spikes regularly: each step adds the values to a potential,
        which spikes above the threshold and loses it; ``None``: the values are the input of
        every step
    """

    values: Tensor
    threshold: float | None


class StraightThrough(torch.autograd.Function):
    """``1{v > th}`` forward, the identity backward."""

    @staticmethod
    def forward(potential: Tensor, threshold: float) -> Tensor:
        return (potential > threshold).to(potential.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        pass

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return upstream, None


class Encoder(nn.Module):
    """``forward(observation[B, D]) -> [T, B, features]``.

    :param inputs: number of observations D; with a time axis, those of one step
    :param time_steps: number of time steps T
    :param input_range: lowest and highest observation, where they need scaling
    """

    features: int

    scales = False
    """True if it scales observations from ``input_range``."""

    takes_images = False
    """True if it can precede convolutions."""

    takes_time = False
    """True if its inputs have a time axis, which is the network's: ``[B, T, C, H, W]``, or
    flattened ``[B, T * D]``."""

    spikes = True
    """False if its outputs are currents rather than spikes, of which there is no firing rate."""

    made_of: ClassVar[tuple[str, ...]] = ()
    """Methods that ``forward`` is made of, and that :meth:`formula` describes with it."""

    compiles = True
    """False if it cannot be part of compiled code, which is then called with its spikes."""

    def __init__(
        self, inputs: int, time_steps: int, input_range: tuple[float, float] | None = None
    ):
        super().__init__()
        self.time_steps = time_steps
        self.input_range = input_range
        self.features = inputs

    def forward(self, observation: Tensor) -> Tensor:
        """Return spikes or currents ``[T, B, ...]`` of observations ``[B, ...]``."""
        raise NotImplementedError

    def saturation(self, observation: Tensor) -> Tensor | None:
        """Return the share of observations ``[B, D]`` that are too large to be told apart, ``[]``;
        ``None``: it tells all apart."""
        return None

    def constant_input(self, observation: Tensor) -> Drive | None:
        """Return the observations as one operator takes them for all steps; ``None``: as none."""
        return None

    def currents(self, observation: Tensor, linear: nn.Module, ops: Operators) -> Tensor:
        """Return the first layer's currents ``[T, B, N, ...]``.

        :param linear: the first layer's linear map or convolution
        :param ops: the fused operators
        """
        return over_steps(linear, self(observation))

    def formula(self) -> dict[str, Any] | None:
        """Return the parameters of :class:`snnrl.deploy.runtime.Encoder`, which computes the same
        without torch; ``None``: it does not."""
        return None

    def known_formula(self) -> dict[str, Any] | None:
        """Return :meth:`formula` if it still describes :meth:`forward`."""
        return self.formula() if answers(self, "formula", *self.made_of) else None

    def known_input(self, observation: Tensor) -> Drive | None:
        """Return :meth:`constant_input` if it still describes :meth:`forward`."""
        return self.constant_input(observation) if answers(self, "constant_input") else None

    def known_currents(self, observation: Tensor, linear: nn.Module, ops: Operators) -> Tensor:
        """Return :meth:`currents` where they still describe :meth:`forward`, or by that."""
        if answers(self, "currents"):
            return self.currents(observation, linear, ops)
        return Encoder.currents(self, observation, linear, ops)


def over_steps(linear: nn.Module, x: Tensor) -> Tensor:
    """Apply a map of ``[B, ...]`` to every time step of ``x[T, B, ...]`` at once."""
    mapped: Tensor = linear(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return mapped


def spike_currents(spikes: Tensor, linear: nn.Module, ops: Operators) -> Tensor:
    """Return the currents ``[T, B, N, ...]`` that spikes ``[T, B, ...]`` cause.

    :param linear: the linear map or convolution behind them
    :param ops: the fused operators
    """
    if isinstance(linear, nn.Linear):
        return ops.spike_linear(spikes.flatten(2), linear.weight, linear.bias)
    return over_steps(linear, spikes)


def scaled(x: Tensor, low: float, high: float) -> Tensor:
    """Return ``x`` of any shape, from [low, high] to [-1, 1]."""
    return (x - low) * (2 / (high - low)) - 1
