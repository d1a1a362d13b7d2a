"""What an action of an agent costs: operations, memory and energy of its acting network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from snnrl.agents.base import SpikingAgent
from snnrl.deploy.cost_layers import Cost, LayerCost
from snnrl.deploy.cost_maps import is_map
from snnrl.deploy.cost_meters import (
    FIELD_MACS,
    EncoderMeter,
    LateralMeter,
    MapMeter,
    Meter,
    PopulationMeter,
    SpikingMeter,
)
from snnrl.deploy.cost_reference import reference_of
from snnrl.errors import UserError
from snnrl.nn.eager import eager
from snnrl.nn.encoders.direct import DirectEncoder
from snnrl.nn.encoders.frames import FramesEncoder
from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.encoders.unit_drive import UnitDriveEncoder
from snnrl.nn.layers import SpikingLayer
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.ordinary import NormalisedLayer
from snnrl.nn.readouts import READOUTS, PopulationReadout, SpikeCountReadout

BATCH = 256
"""Observations of one pass."""


@torch.no_grad()
def cost_of(agent: SpikingAgent, observations: np.ndarray) -> Cost:
    """Return what an action of the agent costs, on average over observations.

    Counted are the modules that choosing a deterministic action calls, in evaluation mode and with
    the naive kernel; the agent stays as it is. Inside ``agent.early_exit()`` only the time steps
    that are taken count. Operations in functions, which no module shows, are not seen.

    :param agent: an agent with a spiking or an ordinary actor (DQN: Q-network)
    :param observations: as the policy sees them, ``[n, ...]``, such as those of episodes
    :raises UserError: no observation, or some of another shape or not finite, an agent without an
        actor, or a module that acts and whose operations are unknown
    """
    if not isinstance(agent, SpikingAgent) or not isinstance(
        getattr(agent, "policy", None), nn.Module
    ):
        raise UserError(
            f"cost: {type(agent).__name__} has no actor to count; expected an agent of "
            "snnrl.agents (of a converted one its ordinary agent)"
        )
    if len(observations) == 0:
        raise UserError("cost: no observations; expected some, over which spikes are averaged")
    shape = agent.observation_space.shape
    if observations.shape[1:] != shape:
        raise UserError(
            f"cost: observations of shape {observations.shape}; expected (n, "
            f"{', '.join(map(str, shape or ()))}), as the policy sees them"
        )
    if not np.isfinite(observations).all():
        raise UserError("cost: an observation is NaN or infinite; expected finite numbers")
    policy = agent.policy
    parts = _Parts.of(policy)
    handles = [handle for meter in parts.meters for handle in meter.attach()]
    handles += [each.register_forward_pre_hook(parts.refusal(each)) for each in parts.unknown]
    with evaluation_mode(policy), eager(policy):
        try:
            for batch in np.array_split(observations, math.ceil(len(observations) / BATCH)):
                tensor, _ = policy.obs_to_tensor(batch)
                policy._predict(tensor, deterministic=True)
        finally:
            for handle in handles:
                handle.remove()
        called = [meter for meter in parts.meters if meter.was_called()]
        layers = [meter.cost(len(observations)) for meter in called]
    if not layers:
        raise UserError(
            f"cost: {type(policy).__name__} calls no layer to choose an action; expected an actor "
            "of linear maps, convolutions or spiking layers"
        )
    encoder = next((meter for meter in called if isinstance(meter, EncoderMeter)), None)
    network = None if encoder is None else encoder.network
    reference = None if encoder is None else reference_of(encoder, called, layers)
    return Cost(layers, len(observations), _notes(network, layers), reference)


def check_cost(agent: SpikingAgent) -> None:
    """Check that the cost of an agent's actions can be counted, before episodes that take minutes.

    :raises UserError: as :func:`cost_of`
    """
    space = agent.observation_space
    assert space.shape is not None
    cost_of(agent, np.zeros((1, *space.shape), space.dtype))


class _Parts(NamedTuple):
    """Modules of a policy, those of critics and targets too, which acting does not call.

    :param meters: of what can be counted, in the order of an observation's way
    :param unknown: modules that compute something else -> their names
    """

    meters: list[Meter]
    unknown: dict[nn.Module, str]

    @classmethod
    def of(cls, policy: nn.Module) -> _Parts:
        """Find the parts of a policy."""
        parts, known = cls([], {}), {policy}
        norms = {
            each.linear: each.norm for each in policy.modules() if isinstance(each, NormalisedLayer)
        }
        known |= {each for norm in norms.values() for each in norm.modules()}
        for path, module in policy.named_modules():
            if module in known:
                continue
            if isinstance(module, SpikingNetwork):
                parts._add_network(module)
                known |= set(module.modules())
            elif is_map(module):
                parts.meters.append(MapMeter(_short(path), module, norms.get(module)))
            elif _computes(module):
                parts.unknown[module] = _short(path)
        return parts

    def _add_network(self, network: SpikingNetwork) -> None:
        self.meters.append(EncoderMeter("encoder", network))
        known = {network, *network.encoder.modules()}
        kind = type(network.encoder).__name__
        spikes = f"encoder ({kind})" if network.encoder.spikes else None
        for path, layer in network.named_modules():
            if not isinstance(layer, SpikingLayer) or not _is_plain(layer):
                continue
            known |= set(layer.modules())
            self.meters.append(SpikingMeter(path, layer, spikes))
            spikes = f"{path}.neuron ({type(layer.neuron).__name__})"
            if layer.lateral is not None:
                self.meters.append(LateralMeter(f"{path}.lateral", layer.lateral, spikes))
        decoder = network.decoder
        if not _is_readout(decoder):
            self.unknown[decoder] = "decoder"
        elif isinstance(decoder, SpikeCountReadout):
            known |= set(decoder.modules())
            self.meters.append(MapMeter("decoder", decoder.linear, kind="readout"))
        elif isinstance(decoder, PopulationReadout):
            known.add(decoder)
            self.meters.append(PopulationMeter("decoder", decoder, spikes or f"encoder ({kind})"))
        for path, module in network.named_modules():
            if module not in known and _computes(module):
                self.unknown[module] = path

    def refusal(self, module: nn.Module) -> Callable[[nn.Module, Any], None]:
        """Return a hook that refuses a module.

        :raises UserError: from the hook
        """

        def refuse(called: nn.Module, inputs: Any) -> None:
            raise UserError(
                f"cost: {self.unknown[module]} ({type(module).__name__}): its operations are "
                "unknown; expected linear maps, convolutions (Conv2d) and spiking layers"
            )

        return refuse


def _is_plain(layer: SpikingLayer) -> bool:
    """Return whether a layer is a map, a normalisation and neurons as its class has them."""
    return type(layer).forward is SpikingLayer.forward and is_map(layer.linear)


def _is_readout(decoder: nn.Module) -> bool:
    """Return whether a readout is one of the package's, or computes the same."""
    methods = ("forward", "read", "read_steps")
    return any(
        isinstance(decoder, kind)
        and all(getattr(type(decoder), m) is getattr(kind, m) for m in methods)
        for kind in READOUTS.values()
    )


def _computes(module: nn.Module) -> bool:
    """Return whether a module has weights of its own."""
    return any(weight is not None for weight in module._parameters.values())


def _short(path: str) -> str:
    """Return a module's name without the actor's: ``actor.mu.0`` is ``mu.0``."""
    for part in ("actor.", "q_net.", "mlp_extractor."):
        path = path.removeprefix(part)
    return path


def _notes(network: SpikingNetwork | None, layers: Sequence[LayerCost]) -> list[str]:
    """Return what is left out and how the rest is counted.

    :param network: the spiking network that acts, ``None``: an ordinary one does
    """
    notes = [
        "left out: reading and writing memory, communication, static power; biases, activation "
        "functions, bounds of actions, scaling of observations, averages of pools; "
        "normalisations by constants, which fold into weights and biases",
        "memory: of weights, biases and constants that act, not of the state of neurons",
    ]
    if any(layer.normalisation_macs for layer in layers):
        notes.append("normalisations that do not fold into weights are counted as MACs")
    if network is None:
        return notes
    updates = sum(layer.updates for layer in layers)
    notes.append(
        f"left out of the energy, as in the published formula: {updates:,.0f} updates of neurons "
        "and spike generators an action; counting the spikes that a readout reads as numbers"
    )
    encoder = network.encoder
    if isinstance(encoder, PopulationEncoder):
        notes.append(
            f"encoder: {FIELD_MACS} MACs a receptive field and action; its exponential and the "
            "tanh in front are left out"
        )
    elif isinstance(encoder, UnitDriveEncoder):
        notes.append("encoder: its draws, comparisons and the tanh in front are left out")
    elif not isinstance(encoder, DirectEncoder | FramesEncoder):
        notes.append(f"encoder ({type(encoder).__name__}): its arithmetic is unknown and left out")
    if not encoder.spikes and not encoder.takes_time:
        notes.append(
            "the first layer's input is the same in every step and is multiplied in every step; "
            "a machine that keeps the product needs its MACs once, not T times"
        )
    if any(not layer.neuron.binary for layer in network.stack()):
        notes.append("a spike of size s, of either sign, counts as |s| accumulations")
    return notes
