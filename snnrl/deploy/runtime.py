"""Runs exported agents with numpy alone: this file can be copied to where they run.

    policy = load("policy.npz")
    action = policy.act(observation)

A policy is an encoder, layers of spiking neurons, a readout and a head, in single precision. Its
normalisations are folded into weights, biases and thresholds (:mod:`snnrl.deploy.folding`).
"""

from __future__ import annotations

import io
import json
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Of single precision, where nothing else is said."""

FORMAT = 1
"""Of the file; another number is another layout."""


class Normaliser(NamedTuple):
    """Observations as z-scores, clipped: ``clip((o - mean) / std, -clip, clip)``.

    :param mean, std: of the observation's shape, in double precision
    :param clip: bound
    """

    mean: Array
    std: Array
    clip: float


class Encoder(NamedTuple):
    """From observations ``o`` to the input of the first layer.

    ``o`` is scaled from ``[low, high]`` to [-1, 1] if there is a range, then squashed by tanh if it
    says so. Receptive fields turn each dimension into ``exp(-(o - mean)^2 / (2 std^2))``. Such a
    drive is the current of every time step, or, with a threshold, added in every step to a
    potential that spikes above the threshold and loses it.

    :param mean, std: of the receptive fields ``[D, P]``; ``None``: there are none
    :param squash: whether observations go through tanh
    :param low, high: range of observations that are scaled; both ``None``: they are not
    :param threshold: of spikes; ``None``: the drive is a current
    """

    mean: Array | None
    std: Array | None
    squash: bool
    low: float | None
    high: float | None
    threshold: float | None

    def drive(self, observations: Array) -> Array:
        """Return ``[B, K]`` of observations ``[B, D]``."""
        seen = observations
        if self.low is not None and self.high is not None:
            seen = (seen - np.float32(self.low)) * np.float32(2 / (self.high - self.low)) - 1
        if self.squash:
            seen = np.tanh(seen)
        if self.mean is None or self.std is None:
            return seen
        distance = seen[:, :, None] - self.mean
        fields: Array = np.exp(-(distance**2) / (2 * self.std**2))
        return fields.reshape(len(seen), self.mean.size)

    def steps(self, observations: Array, time_steps: int) -> Array:
        """Return spikes or currents ``[T, B, K]`` of observations ``[B, D]``."""
        drive = self.drive(observations)
        if self.threshold is None:
            return np.broadcast_to(drive, (time_steps, *drive.shape))
        return self.fire(drive, time_steps)[0]

    def fire(self, drive: Array, time_steps: int) -> tuple[Array, Array]:
        """Return the spikes ``[T, B, K]`` of a drive ``[B, K]``, and the potentials before each."""
        threshold, potential = np.float32(self.threshold or 0), np.zeros_like(drive)
        spikes, potentials = [], []
        for _ in range(time_steps):
            potentials.append(potential + drive)
            spikes.append((potentials[-1] > threshold).astype(np.float32))
            potential = potentials[-1] - threshold * spikes[-1]
        return np.stack(spikes), np.stack(potentials)


class Layer(NamedTuple):
    """A linear map and neurons: ``x[t] = gain[t] (W s[t]) + bias[t]``; see :data:`NEURONS`.

    :param weight: ``W [N, K]``
    :param bias: ``[N]``, or ``[T, N]`` where it differs between time steps
    :param gain: ``[T, N]``, or ``None``: 1
    :param threshold: firing thresholds ``[N]``
    :param neuron: a key of :data:`NEURONS`
    :param constants: of the neuron, by name
    """

    weight: Array
    bias: Array
    gain: Array | None
    threshold: Array
    neuron: str
    constants: Mapping[str, float]

    def currents(self, inputs: Array) -> NDArray[Any]:
        """Return ``[T, B, N]`` of spikes or currents ``[T, B, K]``."""
        mapped: Array = inputs @ self.weight.T
        if self.gain is not None:
            mapped = mapped * self.gain[:, None]
        return mapped + (self.bias if self.bias.ndim == 1 else self.bias[:, None])

    def fire(self, currents: NDArray[Any]) -> tuple[Array, NDArray[Any]]:
        """Return spikes and membrane potentials ``[T, B, N]`` of currents, from rest."""
        move = NEURONS[self.neuron]
        constants = {key: np.float32(value) for key, value in self.constants.items()}
        spike, state = np.zeros_like(currents[0]), None
        spikes, membranes = [], []
        for current in currents:
            state = move(state, spike, current, constants)
            spike = (state[0] > self.threshold).astype(np.float32)
            spikes.append(spike)
            membranes.append(state[0])
        return np.stack(spikes), np.stack(membranes)


class IntegerLayer(NamedTuple):
    """A layer of integers, for inputs that are spikes: ``x[t] = 2^shift W s[t] + bias``.

    Membranes are integers in units of ``unit``. A decay is ``numerator / 4096``, and its product is
    rounded towards 0.

    :param weight: ``W [N, K]``, 8 bits with a sign
    :param bias: ``[N]``
    :param threshold: ``[N]``
    :param neuron: ``lif`` or ``clif``
    :param numerators: of the neuron's decays, by name
    :param shift: bits of a weight behind which a membrane has more
    :param unit: what 1 stands for
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    threshold: NDArray[np.int32]
    neuron: str
    numerators: Mapping[str, int]
    shift: int
    unit: float

    def currents(self, inputs: Array) -> NDArray[Any]:
        """Return ``[T, B, N]`` of spikes ``[T, B, K]``."""
        # Sums of integers below 2^53 are exact.
        sums = (inputs.astype(float) @ self.weight.astype(float).T).astype(np.int64)
        return np.asarray((sums << self.shift) + self.bias)

    def fire(self, currents: NDArray[Any]) -> tuple[Array, NDArray[Any]]:
        """Return spikes and membrane potentials ``[T, B, N]`` of currents, from rest."""
        v, i = np.zeros_like(currents[0]), np.zeros_like(currents[0])
        spikes, membranes = [np.zeros(v.shape, np.float32)], []
        for current in currents:
            if self.neuron == "clif":
                i = _share(i, self.numerators["current_decay"]) + current
            else:
                i = current
            v = np.where(spikes[-1] > 0, 0, _share(v, self.numerators["decay"])) + i
            spikes.append((v > self.threshold).astype(np.float32))
            membranes.append(v)
        return np.stack(spikes[1:]), np.stack(membranes)


ONE = 4096
"""Denominator of the decays of integer layers."""


def _share(values: NDArray[np.int64], numerator: int) -> NDArray[np.int64]:
    """Return ``values * numerator / 4096``, rounded towards 0."""
    product = values * numerator
    return np.asarray(np.sign(product) * (np.abs(product) // ONE))


State = tuple[Array, ...]
Step = Callable[[State | None, Array, Array, Mapping[str, np.float32]], State]


def _lif(state: State | None, s: Array, x: Array, c: Mapping[str, np.float32]) -> State:
    """``v = d v (1 - s) + x``."""
    (v,) = state or (np.zeros_like(x),)
    return ((v * c["decay"]) * (1 - s) + x,)


def _clif(state: State | None, s: Array, x: Array, c: Mapping[str, np.float32]) -> State:
    """``i = c i + x``; ``v = d v (1 - s) + i``."""
    v, i = state or (np.zeros_like(x),) * 2
    i = c["current_decay"] * i + x
    return (v * c["decay"]) * (1 - s) + i, i


def _dynamic(state: State | None, s: Array, x: Array, c: Mapping[str, np.float32]) -> State:
    """``i = c i + x``; ``a = v (1 - s) + tr s``; ``b = u + ts s``; ``v = a + (a^2 - a - b + i)``;
    ``u = b + (tv a + tu b)``."""
    v, i, u = state or (np.zeros_like(x),) * 3
    i = c["current_decay"] * i + x
    a = v * (1 - s) + c["tr"] * s
    b = u + c["ts"] * s
    return a + (a * a - a - b + i), i, b + (c["tv"] * a + c["tu"] * b)


NEURONS: dict[str, Step] = {"lif": _lif, "clif": _clif, "dynamic": _dynamic}
"""Neuron -> its next state (the membrane first) from the present one (``None``: at rest), the
spikes of the step before, the current and the constants. It spikes where the membrane is above the
threshold."""


class Readout(NamedTuple):
    """From the last layer's spikes to values.

    ``population``: firing rates of P neurons for each output, weighted and summed. ``linear``: a
    linear map of spike counts. ``membrane``: ``m[t] = decay m[t-1] + w s[t] + b`` of P neurons for
    each output; its last potential, the mean, or (``max``) the one of largest magnitude.

    :param kind: one of these
    :param weight: ``[A, P]``, or ``[A, N]`` for ``linear``
    :param bias: ``[A]``
    :param value: ``last``, ``max`` or ``mean``
    :param decay: of the membrane
    """

    kind: str
    weight: Array
    bias: Array
    value: str = "last"
    decay: float = 1.0

    def read(self, spikes: Array) -> Array:
        """Return values ``[B, A]`` of spikes ``[T, B, N]``."""
        if self.kind == "linear":
            counts: Array = spikes.sum(0)
            return counts @ self.weight.T + self.bias
        if self.kind == "population":
            rates = (spikes.sum(0) / np.float32(len(spikes))).reshape(
                spikes.shape[1], *self.weight.shape
            )
            values: Array = (rates * self.weight).sum(-1) + self.bias
            return values
        populations = spikes.reshape(*spikes.shape[:2], *self.weight.shape)
        inputs = (populations * self.weight).sum(-1) + self.bias
        membrane: Array = np.zeros_like(inputs[0])
        potentials: list[Array] = []
        for step in inputs:
            membrane = np.asarray(np.float32(self.decay) * membrane + step)
            potentials.append(membrane)
        if self.value == "last":
            return membrane
        over_time = np.stack(potentials)
        if self.value == "mean":
            return np.asarray(np.mean(over_time, 0))
        highest, lowest = over_time.max(0), over_time.min(0)
        return np.asarray(np.where(np.abs(highest) > np.abs(lowest), highest, lowest))


class Head(NamedTuple):
    """From values to actions.

    ``tanh``: squashed, then scaled from [-1, 1] to ``[low, high]``. ``clip``: clipped to them.
    ``argmax``: the number of the largest value.

    :param kind: one of these
    :param outputs: values that are read, the first ones (others belong to a distribution)
    :param low, high: bounds ``[A]`` of actions; empty for ``argmax``
    """

    kind: str
    outputs: int
    low: Array
    high: Array

    def actions(self, values: Array) -> NDArray[Any]:
        """Return actions ``[B, A]``, or ``[B]`` integers for ``argmax``."""
        values = values[:, : self.outputs]
        if self.kind == "argmax":
            return np.asarray(values.argmax(1))
        if self.kind == "clip":
            return np.asarray(np.clip(values, self.low, self.high))
        scaled: Array = self.low + np.float32(0.5) * (np.tanh(values) + 1) * (self.high - self.low)
        return scaled


class Policy(NamedTuple):
    """An agent that acts without choice and without learning.

    :param observation_shape: of one observation
    :param action_shape: of one action; empty for an integer
    :param time_steps: T
    :param normaliser: of observations, if there is one
    :param encoder, layers, readout, head: what it computes, in this order
    :param about: where it comes from, for people
    """

    observation_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    time_steps: int
    normaliser: Normaliser | None
    encoder: Encoder
    layers: tuple[Layer | IntegerLayer, ...]
    readout: Readout
    head: Head
    about: Mapping[str, Any]

    def act(self, observation: Any) -> NDArray[Any]:
        """Return the action of an observation, or actions ``[B, ...]`` of observations
        ``[B, ...]``.

        :raises ValueError: of another shape
        """
        observations, single = self.batch(observation)
        spikes = self.encode(observations)
        for layer in self.layers:
            spikes, _ = layer.fire(layer.currents(spikes))
        actions = self.head.actions(self.readout.read(spikes))
        actions = actions.reshape(len(observations), *self.action_shape)
        return np.asarray(actions[0] if single else actions)

    def encode(self, observations: Array) -> Array:
        """Return the input of the first layer ``[T, B, K]`` of observations ``[B, D]``."""
        return self.encoder.steps(self.seen(observations), self.time_steps)

    def seen(self, observations: Array) -> Array:
        """Return observations ``[B, D]`` as the encoder sees them."""
        if self.normaliser is None:
            return observations
        mean, std, clip = self.normaliser
        scores = np.clip((observations - mean.ravel()) / std.ravel(), -clip, clip)
        return np.asarray(scores, np.float32)

    def batch(self, observation: Any) -> tuple[Array, bool]:
        """Return observations ``[B, D]``, and whether a single one was given.

        :raises ValueError: of another shape
        """
        # A mean far from 0 is subtracted before there is anything to round.
        precision = np.float32 if self.normaliser is None else np.float64
        given = np.asarray(observation, dtype=precision)
        dims = len(self.observation_shape)
        if given.shape[given.ndim - dims :] != self.observation_shape or given.ndim > dims + 1:
            raise ValueError(
                f"observation of shape {given.shape}: expected {self.observation_shape}, or "
                "several of them"
            )
        single = given.ndim == dims
        size = math.prod(self.observation_shape)
        return given.reshape(1 if single else len(given), size), single


def save(policy: Policy, path: str | Path) -> None:
    """Write a policy."""
    Path(path).write_bytes(to_bytes(policy))


def to_bytes(policy: Policy) -> bytes:
    """Return the file of a policy: arrays in one ``.npz``, and everything else as JSON in it."""
    arrays: dict[str, Array] = {}
    plain = taken_apart("policy", policy, arrays)
    arrays["about"] = np.array(json.dumps({"format": FORMAT, "policy": plain}))
    buffer = io.BytesIO()
    np.savez(buffer, **cast(Any, arrays))
    return buffer.getvalue()


def load(path: str | Path) -> Policy:
    """Read a policy. Nothing in the file is executed.

    :raises ValueError: no such file of this format
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        written = json.loads(str(arrays["about"]))
        number = written["format"]
        if number != FORMAT:
            raise ValueError(f"its format is {number}, and this file reads {FORMAT}")
        policy: Policy = put_together(Policy, written["policy"], arrays)
        _check(policy)
        return policy
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; expected an exported policy (.npz)") from None
    except (OSError, EOFError, BadZipFile, zlib.error, *WRONG) as problem:
        reason = str(problem).partition("\n")[0]
        raise ValueError(f"{path}: is no exported policy ({reason})") from None


WRONG = (AttributeError, KeyError, TypeError, ValueError, RecursionError)
"""What comes of contents of another form."""

MOST_TIME_STEPS = 10_000


def _check(policy: Policy) -> None:
    """:raises ValueError: something of another kind or size than it has"""
    parts = (policy.encoder, Encoder), (policy.readout, Readout), (policy.head, Head)
    if not all(isinstance(part, kind) for part, kind in parts) or not policy.layers:
        raise ValueError("a part is missing")
    if not 1 <= policy.time_steps <= MOST_TIME_STEPS:
        raise ValueError(f"{policy.time_steps} time steps")
    for layer in policy.layers:
        if layer.neuron not in NEURONS:
            raise ValueError(f"its neurons are {layer.neuron}")
        if not layer.threshold.shape == layer.bias.shape[-1:] == layer.weight.shape[:1]:
            raise ValueError("a layer's arrays are not of one size")


def taken_apart(name: str, value: Any, arrays: dict[str, Array]) -> Any:
    """Return a value as JSON takes it, with names of arrays in place of arrays.

    :param name: first part of the names
    :param arrays: gets the arrays
    """
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {"array": name}
    if hasattr(value, "_asdict"):
        return {key: taken_apart(f"{name}.{key}", v, arrays) for key, v in value._asdict().items()}
    if isinstance(value, tuple):
        return [taken_apart(f"{name}.{i}", each, arrays) for i, each in enumerate(value)]
    return dict(value) if isinstance(value, Mapping) else value


PARTS: dict[str, Any] = {
    "normaliser": Normaliser,
    "encoder": Encoder,
    "layers": Layer,
    "readout": Readout,
    "head": Head,
}


def put_together(cls: Any, plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return the value that :func:`taken_apart` took apart."""
    values = {}
    for key, value in plain.items():
        part: Any = PARTS.get(key)
        if isinstance(value, dict) and value.keys() == {"array"}:
            value = arrays[value["array"]]
        elif part is not None and isinstance(value, dict):
            value = put_together(part, value, arrays)
        elif part is not None and isinstance(value, list):
            value = tuple(
                put_together(IntegerLayer if "numerators" in each else part, each, arrays)
                for each in value
            )
        elif isinstance(value, list):
            value = tuple(value)
        values[key] = value
    return cls(**values)
