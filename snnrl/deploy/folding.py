"""Folds a trained spiking agent into a plain network without normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import Tensor, nn

from snnrl.agents.base import SpikingAgent
from snnrl.deploy.runtime import (
    Array,
    Encoder,
    Head,
    Layer,
    Normaliser,
    Policy,
    Readout,
)
from snnrl.errors import UserError
from snnrl.nn.answers import answers
from snnrl.nn.layers import SpikingLayer
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.structure import Structure


@torch.no_grad()
def fold(agent: SpikingAgent, about: Mapping[str, Any] | None = None) -> Policy:
    """Return the acting network of an agent as numpy arrays, its normalisation folded.

    ``(W s + b - mean) / sd gamma + beta`` is ``W' s + b'`` with ``W' = W gamma / sd`` and
    ``b' = (b - mean) gamma / sd + beta``. Constants that differ between time steps stay beside the
    weights, one gain and bias for each step. A normalisation of membrane potentials moves the
    firing thresholds. It is folded in double precision and rounded once.

    :param agent: a trained one
    :param about: where it comes from
    :raises UserError: what cannot be folded, by name, with the reason
    """
    network = agent.acting_network()
    if network is None:
        raise UserError(
            "fold: the actor is an ordinary network, which has no spikes; expected actor=spiking, "
            "or snnrl.agents.conversion.convert(agent) for one that spikes"
        )
    _check_plain(agent, network)
    with evaluation_mode(network):
        return Policy(
            observation_shape=tuple(agent.observation_space.shape or ()),
            action_shape=_action_shape(agent.action_space),
            time_steps=network.encoder.time_steps,
            normaliser=_normaliser(agent),
            encoder=_encoder(network),
            layers=tuple(_layer(f"layers.{i}", each) for i, each in enumerate(_stack(network))),
            readout=_readout(network),
            head=_head(agent),
            about=dict(about or {}),
        )


def _check_plain(agent: SpikingAgent, network: SpikingNetwork) -> None:
    """Refuse what acts beside the parts that are folded."""
    if is_image_space(agent.observation_space):
        raise UserError("fold: observations are images; expected vectors")
    extractors = [
        module for module in agent.policy.modules() if isinstance(module, BaseFeaturesExtractor)
    ]
    for each in extractors:
        if type(each) is not FlattenExtractor:
            raise UserError(
                f"fold: {type(each).__name__} extracts features by code of its own; expected "
                "FlattenExtractor"
            )
    if network.taken is not None:
        raise UserError("fold: the agent leaves early; expected fold outside of early_exit()")
    if type(network).forward is not SpikingNetwork.forward:
        raise UserError(
            f"fold: {type(network).__name__} has a forward of its own; expected SpikingNetwork"
        )
    structure = Structure(network)
    if not structure.is_plain():
        raise UserError(f"fold: {structure.why_not_plain()}, which is not exported")


def _stack(network: SpikingNetwork) -> list[SpikingLayer]:
    stack = network.stack()
    if not stack:
        raise UserError("fold: the network has no spiking layer; expected one or more")
    if any(not layer.is_dense for layer in stack):
        raise UserError(
            "fold: the network has convolutions, which no exported format has yet; expected "
            "conv=none"
        )
    return stack


def _encoder(network: SpikingNetwork) -> Encoder:
    formula = network.encoder.known_formula()
    if formula is None:
        raise UserError(
            f"fold: {type(network.encoder).__name__} has no formula outside of torch; expected "
            "encoder=population, population_current or direct"
        )
    return Encoder(**{key: _plain(value) for key, value in formula.items()})


def _readout(network: SpikingNetwork) -> Readout:
    formula = network.decoder.known_formula()
    if formula is None:
        raise UserError(
            f"fold: {type(network.decoder).__name__} has no formula outside of torch; expected a "
            "readout of this package"
        )
    return Readout(**{key: _plain(value) for key, value in formula.items()})


def _layer(name: str, layer: SpikingLayer) -> Layer:
    if layer.lateral is not None:
        raise UserError(
            f"fold: {name} has lateral connections, which feed spikes back; expected "
            "actor.lateral=none"
        )
    dynamics = layer.neuron.dynamics()
    if dynamics is None:
        raise UserError(
            f"fold: {name} has {type(layer.neuron).__name__} neurons, which have no plain form; "
            "expected neuron=lif, clif, dn, dn_mdcsan or plif"
        )
    linear = layer.linear
    if type(linear).forward is not nn.Linear.forward or not answers(layer, "fire"):
        kind = linear if answers(layer, "fire") else layer
        raise UserError(f"fold: {name}: {type(kind).__name__} has a forward of its own")
    assert isinstance(linear, nn.Linear)
    weight = linear.weight.double()
    bias = torch.zeros(len(weight)).double() if linear.bias is None else linear.bias.double()
    constant, gain = layer.norm.known_constant(), None
    if constant is None:
        raise UserError(
            f"fold: {name} has {type(layer.norm).__name__}, which normalises each input by its own "
            "statistics; expected one with moving statistics, such as bn=carebn"
        )
    if constant.values is not None:
        mean, var, gamma, beta = (each.double() for each in constant.values)
        gain = gamma / torch.sqrt(var + constant.eps)
        bias = (bias - mean) * gain + beta
        if gain.dim() == 1:
            weight, gain = weight * gain.unsqueeze(1), None
    try:
        level = layer.neuron.surrogate.known_level(float(dynamics.threshold))
    except UserError as problem:
        raise UserError(f"fold: {name}: {problem}") from None
    return Layer(
        weight=_array(weight),
        bias=_array(bias),
        gain=None if gain is None else _array(gain),
        threshold=_array(torch.as_tensor(level).expand(len(weight))),
        neuron=dynamics.neuron,
        constants={
            key: float(value)
            for key, value in dynamics.constants._asdict().items()  # type: ignore[attr-defined]
        },
    )


def _normaliser(agent: SpikingAgent) -> Normaliser | None:
    found = agent.get_vec_normalize_env() or agent.normalization
    if found is None or not found.norm_obs:
        return None
    moments: Any = found.obs_rms
    std = np.sqrt(np.asarray(moments.var) + found.epsilon)
    return Normaliser(np.asarray(moments.mean, float), std, float(found.clip_obs))


def _head(agent: SpikingAgent) -> Head:
    space = agent.action_space
    if isinstance(space, spaces.Discrete):
        nothing = np.zeros(0, np.float32)
        return Head("argmax", int(space.n), nothing, nothing)
    assert isinstance(space, spaces.Box)
    low, high = (np.ravel(bound).astype(np.float32) for bound in (space.low, space.high))
    kind = "tanh" if agent.policy.squash_output else "clip"
    return Head(kind, len(low), low, high)


def _action_shape(space: spaces.Space[Any]) -> tuple[int, ...]:
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return ()
    if isinstance(space, spaces.Box):
        return space.shape
    raise UserError(
        f"fold: actions are {space}; expected a Box, or Discrete numbers from 0 (no distribution "
        "of several choices)"
    )


def _plain(value: Any) -> Any:
    return _array(value) if isinstance(value, Tensor) else value


def _array(values: Tensor) -> Array:
    # A copy: the agent may learn on.
    return np.array(values.detach().cpu().float().numpy())
