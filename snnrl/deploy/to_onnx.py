"""Policies as ONNX graphs: observations ``[B, ...]`` in, actions out, all time steps unrolled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from snnrl.deploy.runtime import Array, Encoder, Head, IntegerLayer, Layer, Policy, Readout
from snnrl.deploy.targets import check_single_precision
from snnrl.errors import UserError

OPSET = 17


def to_onnx(policy: Policy) -> bytes:
    """Return the ONNX file of a policy: ``observation`` to ``action``.

    :raises UserError: onnx is not installed, or the layers are integers
    """
    try:
        import onnx
    except ImportError:
        raise UserError(
            "--format onnx: needs the package onnx; expected pip install 'snnrl[onnx]'"
        ) from None
    graph = _Graph(onnx.helper)
    size = int(np.prod(policy.observation_shape))
    seen = graph("Reshape", "observation", graph.integers([-1, size]))
    inputs = _encode(graph, policy, seen)
    for i, layer in enumerate(policy.layers):
        if isinstance(layer, IntegerLayer):
            raise UserError("--format onnx: expected --format numpy or c with --bits")
        inputs = _fire(graph, f"layers.{i}", layer, inputs)
    values = _read(graph, policy.readout, inputs)
    discrete = policy.head.kind == "argmax"
    action = _act(graph, policy.head, values)
    shape = [-1, *policy.action_shape]
    graph.node("Reshape", [action, graph.integers(shape)], "action")
    types = onnx.TensorProto
    kind = types.INT64 if discrete else types.FLOAT
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "snnrl",
            [
                onnx.helper.make_tensor_value_info(
                    "observation", types.FLOAT, ["B", *policy.observation_shape]
                )
            ],
            [onnx.helper.make_tensor_value_info("action", kind, ["B", *policy.action_shape])],
            [onnx.numpy_helper.from_array(each, name) for name, each in graph.constants.items()],
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class _Graph:
    """Nodes and constants, named in the order in which they are made."""

    def __init__(self, helper: Any):
        self.helper = helper
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def __call__(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node; arrays and numbers among its inputs become constants. Return its output."""
        return self.node(operator, inputs, f"v{len(self.nodes)}", **attributes)

    def node(self, operator: str, inputs: Sequence[Any], output: str, **attributes: Any) -> str:
        """Add a node with a named output."""
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        self.nodes.append(self.helper.make_node(operator, names, [output], **attributes))
        return output

    def integers(self, values: Sequence[int]) -> str:
        """Add a constant of integers."""
        return self._constant(np.array(values, np.int64))

    def _constant(self, value: Any) -> str:
        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def spike(self, potential: str, threshold: Any) -> str:
        """Add 1 where a potential is above a threshold, and 0 elsewhere."""
        return self("Cast", self("Greater", potential, threshold), to=1)


def _encode(graph: _Graph, policy: Policy, seen: str) -> list[str]:
    """Return the input of the first layer in each time step."""
    if policy.normaliser is not None:
        check_single_precision(policy.normaliser, "onnx")
        mean, std, clip = policy.normaliser
        mean, std = (each.ravel().astype(np.float32) for each in (mean, std))
        seen = graph("Div", graph("Sub", seen, mean), std)
        seen = graph("Clip", seen, -clip, clip)
    drive = _drive(graph, policy.encoder, seen)
    if policy.encoder.threshold is None:
        return [drive] * policy.time_steps
    potential, spikes = drive, []
    for step in range(policy.time_steps):
        if step > 0:
            potential = graph("Add", potential, drive)
        spikes.append(graph.spike(potential, policy.encoder.threshold))
        potential = graph("Sub", potential, graph("Mul", spikes[-1], policy.encoder.threshold))
    return spikes


def _drive(graph: _Graph, encoder: Encoder, seen: str) -> str:
    if encoder.low is not None and encoder.high is not None:
        factor = 2 / (encoder.high - encoder.low)
        seen = graph("Sub", graph("Mul", graph("Sub", seen, encoder.low), factor), 1.0)
    if encoder.squash:
        seen = graph("Tanh", seen)
    if encoder.mean is None or encoder.std is None:
        return seen
    distance = graph("Sub", graph("Unsqueeze", seen, graph.integers([2])), encoder.mean)
    square = graph("Mul", distance, distance)
    fields = graph("Exp", graph("Div", graph("Neg", square), 2 * encoder.std**2))
    return graph("Reshape", fields, graph.integers([-1, encoder.mean.size]))


def _fire(graph: _Graph, name: str, layer: Layer, inputs: Sequence[str]) -> list[str]:
    """Return the spikes of a layer in each time step."""
    weight, spikes, state = np.ascontiguousarray(layer.weight.T), list[str](), None
    shared = graph._constant(weight)
    for step, each in enumerate(inputs):
        current = graph("MatMul", each, shared)
        if layer.gain is not None:
            current = graph("Mul", current, layer.gain[step])
        bias = layer.bias if layer.bias.ndim == 1 else layer.bias[step]
        current = graph("Add", current, bias)
        before = (state, spikes[-1]) if state is not None else None
        state = _move(graph, layer, before, current)
        spikes.append(graph.spike(state[0], layer.threshold))
    return spikes


def _move(
    graph: _Graph, layer: Layer, before: tuple[tuple[str, ...], str] | None, x: str
) -> tuple[str, ...]:
    """Return the next state, as ``runtime.NEURONS`` does."""
    c = layer.constants
    if layer.neuron == "lif":
        if before is None:
            return (x,)
        (v,), s = before
        return (graph("Add", _kept(graph, graph("Mul", v, c["decay"]), s), x),)
    if layer.neuron == "clif":
        if before is None:
            return x, x
        (v, i), s = before
        i = graph("Add", graph("Mul", i, c["current_decay"]), x)
        return graph("Add", _kept(graph, graph("Mul", v, c["decay"]), s), i), i
    if before is None:
        zero = graph("Sub", x, x)
        before = (zero, zero, zero), zero
    (v, i, u), s = before
    i = graph("Add", graph("Mul", i, c["current_decay"]), x)
    a = graph("Add", _kept(graph, v, s), graph("Mul", s, c["tr"]))
    b = graph("Add", u, graph("Mul", s, c["ts"]))
    change = graph("Sub", graph("Sub", graph("Mul", a, a), a), b)
    u = graph("Add", b, graph("Add", graph("Mul", a, c["tv"]), graph("Mul", b, c["tu"])))
    return graph("Add", a, graph("Add", change, i)), i, u


def _kept(graph: _Graph, value: str, spikes: str) -> str:
    """Return a value where there was no spike, and 0 elsewhere."""
    return graph("Mul", value, graph("Sub", 1.0, spikes))


def _read(graph: _Graph, readout: Readout, spikes: Sequence[str]) -> str:
    weight = readout.weight
    if readout.kind == "linear":
        return graph(
            "Add", graph("MatMul", graph("Sum", *spikes), _by_column(weight)), readout.bias
        )
    populations = graph.integers([-1, *weight.shape])
    last = graph.integers([2])

    def weighted(values: str) -> str:
        each = graph("Mul", graph("Reshape", values, populations), weight)
        return graph("Add", graph("ReduceSum", each, last, keepdims=0), readout.bias)

    if readout.kind == "population":
        return weighted(graph("Div", graph("Sum", *spikes), float(len(spikes))))
    potentials: list[str] = []
    for each in spikes:
        step = weighted(each)
        if potentials:
            step = graph("Add", graph("Mul", potentials[-1], readout.decay), step)
        potentials.append(step)
    if readout.value == "last":
        return potentials[-1]
    if readout.value == "mean":
        return graph("Mean", *potentials)
    highest, lowest = graph("Max", *potentials), graph("Min", *potentials)
    larger = graph("Greater", graph("Abs", highest), graph("Abs", lowest))
    return graph("Where", larger, highest, lowest)


def _act(graph: _Graph, head: Head, values: str) -> str:
    ends = (graph.integers([each]) for each in (0, head.outputs, 1))
    values = graph("Slice", values, *ends)
    if head.kind == "argmax":
        return graph("ArgMax", values, axis=1, keepdims=0)
    if head.kind == "clip":
        return graph("Min", graph("Max", values, head.low), head.high)
    shifted = graph("Mul", graph("Add", graph("Tanh", values), 1.0), 0.5)
    return graph("Add", graph("Mul", shifted, head.high - head.low), head.low)


def _by_column(weight: Array) -> Array:
    return np.ascontiguousarray(weight.T)
