"""Other libraries' neurons, set up to compute ours: strict threshold, hard reset, full gradient.

Each is used in the fastest way that its documentation shows: with a multi-step function if there is
one, else with a loop over ``x.unbind(0)`` (the backward pass of a loop over ``x[t]`` takes time in
T squared). It is timed again with ``torch.compile`` if that traces it as one graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata

import numpy as np
import torch
from torch import Tensor

from scripts.bench.kernels import DYNAMICS

LIF = DYNAMICS["lif"]
(LIF_DECAY,) = LIF.constants
CLIF_CURRENT_DECAY, CLIF_DECAY = DYNAMICS["clif"].constants

Neuron = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Peer:
    """Another library of spiking neurons.

    :param name: name in the tables
    :param package: name of its distribution
    :param makers: kind of neuron -> function that makes ``x[T, B, N] -> spikes``
    :param cannot: kind of neuron -> why the library lacks it
    :param compiles: whether ``torch.compile(fullgraph=True)`` can trace it
    :param scale: factor from our input to its input (a power of two, which is exact); a network
        would have it in its weights, so it is not timed
    :param configuration: settings with which it computes our neuron
    """

    name: str
    package: str
    makers: dict[str, Callable[[str], Neuron]]
    cannot: dict[str, str] = field(default_factory=dict)
    compiles: bool = True
    scale: float = 1.0
    configuration: str = ""

    @property
    def version(self) -> str | None:
        """Installed version, ``None`` if there is none."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return None


def spikingjelly(device: str) -> dict[str, Callable[[str], Neuron]]:
    """Return neurons from ``lif_multi_step``: Triton on CUDA if the surrogate has a kernel."""

    def make(kind: str) -> Neuron:
        from spikingjelly.activation_based import surrogate
        from spikingjelly.activation_based.functional import lif_multi_step

        derivative = {
            "lif": surrogate.Rect(alpha=1.0),
            "lif-triangle": surrogate.PiecewiseQuadratic(alpha=1.0),
        }[kind]
        # It spikes at v >= threshold. With this one that is v > 0.5 in single precision.
        threshold = float(np.nextafter(np.float32(LIF.threshold), np.float32(1)))
        tau = 1 / (1 - LIF_DECAY)

        def run(x: Tensor) -> Tensor:
            rest = torch.zeros(x.shape[1:], device=x.device)
            spikes: Tensor = lif_multi_step(x, rest, tau, False, threshold, 0.0, derivative)[0]
            return spikes.to(x.dtype)

        return run

    return dict.fromkeys(("lif", "lif-triangle"), make)


def snntorch(device: str) -> dict[str, Callable[[str], Neuron]]:
    """Return ``Leaky`` and ``Synaptic``, with ``reset_delay=False``: the default is detached."""

    def make(kind: str) -> Neuron:
        import snntorch
        from snntorch.surrogate import custom_surrogate

        def rectangular(distance: Tensor, upstream: Tensor, spikes: Tensor) -> Tensor:
            return upstream * (distance.abs() < LIF.surrogate.scale)

        shared = dict(
            threshold=LIF.threshold,
            spike_grad=custom_surrogate(rectangular),
            reset_mechanism="zero",
            reset_delay=False,
        )
        if kind == "lif":
            neuron = snntorch.Leaky(beta=LIF_DECAY, **shared).to(device)
        else:
            neuron = snntorch.Synaptic(alpha=CLIF_CURRENT_DECAY, beta=CLIF_DECAY, **shared)
            neuron = neuron.to(device)

        def run(x: Tensor) -> Tensor:
            rest = torch.zeros(x.shape[1:], device=x.device)
            state = (rest,) if kind == "lif" else (rest, rest)
            spikes = []
            for current in x.float().unbind(0):
                spike, *state = neuron(current, *state)
                spikes.append(spike)
            return torch.stack(spikes).to(x.dtype)

        return run

    return dict.fromkeys(("lif", "clif"), make)


def norse(device: str) -> dict[str, Callable[[str], Neuron]]:
    """Return ``lif_box_feed_forward_step``, ``dt / tau = 1/4``; it needs four times our current."""

    def make(kind: str) -> Neuron:
        from norse.torch.functional.lif_box import (
            LIFBoxFeedForwardState,
            LIFBoxParameters,
            lif_box_feed_forward_step,
        )

        def number(value: float) -> Tensor:
            return torch.tensor(value, device=device)

        parameters = LIFBoxParameters(
            tau_mem_inv=number(1 - LIF_DECAY),
            v_leak=number(0.0),
            v_th=number(LIF.threshold),
            v_reset=number(0.0),
            method="triangle",
            alpha=1.0,
        )

        def run(x: Tensor) -> Tensor:
            state = LIFBoxFeedForwardState(v=torch.zeros(x.shape[1:], device=x.device))
            spikes = []
            for current in x.float().unbind(0):
                spike, state = lif_box_feed_forward_step(current, state, parameters, dt=1.0)
                spikes.append(spike)
            return torch.stack(spikes).to(x.dtype)

        return run

    return {"lif-triangle": make}


def peers(device: str) -> list[Peer]:
    """Return all peers, installed or not."""
    return [
        Peer(
            "SpikingJelly",
            "spikingjelly",
            spikingjelly(device),
            {
                "clif": "its CLIF is another neuron (complementary LIF)",
                "dn": "has no such neuron",
            },
            configuration="tau 4, decay_input False; the threshold is the next number above 0.5, "
            "as it spikes at >=",
        ),
        Peer(
            "snnTorch",
            "snntorch",
            snntorch(device),
            {
                "lif-triangle": "takes any surrogate: see lif",
                "dn": "has no such neuron",
            },
            compiles=False,
            configuration="reset zero, reset_delay False, as its usual reset is detached; branches "
            "on a tensor, so it does not compile whole",
        ),
        Peer(
            "Norse",
            "norse",
            norse(device),
            {
                "lif": "has no rectangular surrogate",
                "clif": "has no rectangular surrogate",
                "dn": "has no such neuron",
            },
            scale=4.0,
            configuration="dt / tau = 1/4, input times 4",
        ),
    ]
