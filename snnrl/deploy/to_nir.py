"""Policies as graphs of the Neuromorphic Intermediate Representation (NIR).

The graph holds the layers: spikes of the encoder in, spikes of the last layer out, one time step a
call. NIR has no encoder and no readout of populations. They travel as metadata, and
:mod:`snnrl.deploy.runtime` computes them.

NIR's neurons are differential equations, ``tau dv/dt = v_leak - v + r I``. By Euler's method with a
step of ``dt`` they are ``v = (1 - dt/tau) v + (dt/tau) r I``. That is ``v = d v + I`` of
:func:`snnrl.ops.lif.lif` with ``tau = dt / (1 - d)`` and either ``r = 1 / (1 - d)`` or, for tools
that ignore r, ``r = 1`` and weights divided by ``1 - d``. Source: NIR (Pedersen et al., Nature
Communications 2024).
"""

from __future__ import annotations

import io
import json
from itertools import pairwise
from typing import Any

import numpy as np

from snnrl.deploy.runtime import Array, IntegerLayer, Layer, Policy, put_together, taken_apart
from snnrl.deploy.targets import DIALECTS, Dialect, check_target
from snnrl.errors import UserError


def to_nir(policy: Policy, target: str = "generic") -> bytes:
    """Return the NIR file (HDF5) of a policy.

    :param target: a key of :data:`DIALECTS`
    :raises UserError: nir is not installed, or the policy has what NIR does not express
    """
    check_target(target)
    try:
        import nir
    except ImportError:
        raise UserError(
            "--format nir: needs the package nir; expected pip install 'snnrl[nir]'"
        ) from None
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([_inputs(policy)])})}
    for i, layer in enumerate(policy.layers):
        if isinstance(layer, IntegerLayer):
            raise UserError(
                "--format nir: its neurons are not of integers; expected --format numpy or c with "
                "--bits"
            )
        weight, bias, neuron = _node(nir, f"layers.{i}", layer, DIALECTS[target], target)
        nodes[f"linear_{i}"] = nir.Affine(weight=weight, bias=bias)
        nodes[f"neurons_{i}"] = neuron
    nodes["output"] = nir.Output({"output": np.array([len(policy.layers[-1].weight)])})
    names = list(nodes)
    edges = list(pairwise(names))
    graph = nir.NIRGraph(nodes, edges, metadata=_metadata(policy, target))
    buffer = io.BytesIO()
    nir.write(buffer, graph)
    return buffer.getvalue()


def _inputs(policy: Policy) -> int:
    return int(policy.layers[0].weight.shape[1])


def _node(
    nir: Any, name: str, layer: Layer, dialect: Dialect, target: str
) -> tuple[Array, Array, Any]:
    """Return weight, bias and neurons of a layer."""
    if layer.gain is not None:
        raise UserError(
            f"--format nir: {name} is normalised otherwise in each time step, which NIR does not "
            "express; expected --format numpy, c or onnx"
        )
    if not dialect.own_thresholds and len(np.unique(layer.threshold)) > 1:
        raise UserError(
            f"--target {target}: takes one threshold for a layer, and {name} has "
            f"{len(np.unique(layer.threshold))}; expected --target generic or norse"
        )
    size, dt, d = layer.threshold.shape, dialect.dt, layer.constants.get("decay", 0.0)
    if layer.neuron not in ("lif", "clif"):
        raise UserError(
            f"--format nir: {name} has dynamic neurons (neuron=dn), which NIR does not have; "
            "expected --format numpy, c or onnx"
        )
    if d == 1:
        raise UserError(
            f"--format nir: {name} has neurons without leak (neuron.decay=1), whose time constant "
            "is infinite; expected --format numpy, c or onnx"
        )
    weight, bias = layer.weight, layer.bias
    shared = dict(
        v_leak=np.zeros(size), v_reset=np.zeros(size), v_threshold=layer.threshold.astype(float)
    )
    r = 1 / (1 - d)
    if layer.neuron == "clif":
        c = layer.constants["current_decay"]
        if c == 1:
            raise UserError(
                f"--format nir: {name} has currents without decay (neuron.current_decay=1); "
                "expected --format numpy, c or onnx"
            )
        return (
            weight,
            bias,
            nir.CubaLIF(
                tau_syn=np.full(size, dt / (1 - c)),
                tau_mem=np.full(size, dt / (1 - d)),
                r=np.full(size, r),
                w_in=np.full(size, 1 / (1 - c)),
                **shared,
            ),
        )
    if not dialect.uses_r:
        # In double precision, rounded once.
        weight, bias = ((each.astype(float) * r).astype(np.float32) for each in (weight, bias))
        r = 1.0
    tau = np.full(size, dt / (1 - d))
    return weight, bias, nir.LIF(tau=tau, r=np.full(size, r), **shared)


def _metadata(policy: Policy, target: str) -> dict[str, Any]:
    """Return what NIR has no nodes for: arrays, and the rest as JSON under ``snnrl``."""
    arrays: dict[str, Any] = {}
    others = policy._replace(layers=())
    plain = taken_apart("policy", others, arrays)
    said = {"policy": plain, "target": target, "dt": DIALECTS[target].dt}
    return {"snnrl": json.dumps(said), **arrays}


def ends_of(path: str) -> Policy:
    """Return encoder, readout and head of a NIR file, as a policy without layers.

    Between its ``encode`` and its ``readout`` runs the tool that reads the graph.

    :raises UserError: no NIR file that :func:`to_nir` wrote
    """
    import nir

    try:
        metadata = nir.read(path).metadata
    except (OSError, KeyError, ValueError) as problem:
        reason = str(problem).partition("\n")[0]
        raise UserError(f"{path}: is no NIR file ({reason})") from None
    if "snnrl" not in metadata:
        raise UserError(f"{path}: has no metadata of snnrl; expected a file of snnrl.export")
    said = metadata["snnrl"]
    text = said.decode() if isinstance(said, bytes) else str(said)
    found: Policy = put_together(Policy, json.loads(text)["policy"], metadata)
    return found
