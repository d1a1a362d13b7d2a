"""Backends of snnrl that a device has, and their operators."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from scripts.bench.options import Options
from snnrl.errors import expect
from snnrl.ops.backend import KERNELS
from snnrl.ops.clif import CLIFConstants
from snnrl.ops.dynamic import DynamicConstants
from snnrl.ops.dynamics import Dynamics, FusedLayer, run
from snnrl.ops.lif import LIFConstants
from snnrl.ops.surrogate import Surrogate

ONLY_ON = {"native": "cpu", "triton": "cuda"}

RECTANGULAR = Surrogate("rectangular", 0.5)
LIF = Dynamics("lif", 0.5, RECTANGULAR, detach_reset=False, constants=LIFConstants(decay=0.75))

DYNAMICS = {
    "lif": LIF,
    # With the surrogate of the peers' fused kernels, the only one that some of them have.
    "lif-triangle": LIF._replace(surrogate=Surrogate("triangle", 1.0)),
    "clif": LIF._replace(neuron="clif", constants=CLIFConstants(current_decay=0.5, decay=0.75)),
    "dn": LIF._replace(
        neuron="dynamic",
        constants=DynamicConstants(current_decay=0.5, tv=-0.172, tu=0.529, tr=0.021, ts=0.132),
    ),
    "normalised-lif": LIF,
}


class Operators(NamedTuple):
    """Operators of a backend; neurons start at rest."""

    neuron: Callable[[Tensor, Dynamics], Tensor]
    normalised_neuron: Callable[[Tensor, FusedLayer], tuple[Tensor, ...]]


def kernels(options: Options) -> list[str]:
    """Return the backends to measure on this device, ``naive`` first.

    :raises UserError: this version or this device does not have a requested backend
    """
    here = [
        name
        for name in KERNELS
        if name != "auto" and ONLY_ON.get(name, options.device) == options.device
    ]
    for name in options.kernels or ():
        expect("--kernels", name, here)
    return [name for name in here if name in (options.kernels or here) or name == "naive"]


def operators(kernel: str) -> Operators:
    """Return the operators of a backend."""
    if kernel == "naive":
        return Operators(naive_neuron, naive_normalised_neuron)
    if kernel == "compile":
        compiled = partial(torch.compile, fullgraph=True, dynamic=False)
        return Operators(compiled(naive_neuron), compiled(naive_normalised_neuron))
    module = importlib.import_module(f"snnrl.ops.{kernel}")
    return Operators(module.neuron, module.normalised_neuron)


def naive_neuron(x: Tensor, dynamics: Dynamics) -> Tensor:
    """Return the spikes of ``x[T, B, N]`` in its dtype; the state is kept in single precision."""
    return run(x.float(), dynamics)[0].to(x.dtype)


def naive_normalised_neuron(x: Tensor, layer: FusedLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Return spikes, mean and variance of a normalisation and a neuron.

    The normalisation is that of :class:`snnrl.nn.norm.batch.PooledBatchNorm`.
    """
    y = x.float()
    if layer.statistics is None:
        var, mean = torch.var_mean(y, dim=(0, 1), correction=0)
    else:
        mean, var = layer.statistics
    y = (y - mean) / torch.sqrt(var + layer.eps) * layer.gamma + layer.beta
    return naive_neuron(y, layer.dynamics).to(x.dtype), mean.detach(), var.detach()
