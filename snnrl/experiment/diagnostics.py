"""Diagnostics of the spiking and the normalised networks, measured at each evaluation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnrl.agents.base import SpikingAgent, Statistics
from snnrl.agents.policies.part import AgentPart
from snnrl.deploy.cost import cost_of
from snnrl.deploy.cost_layers import ENERGIES
from snnrl.nn.norm import norm_layers
from snnrl.nn.norm.error import statistics_error

VECTORS, IMAGES = 4096, 256
"""Most observations sampled from an evaluation or from the agent's experience."""

BATCH = 512


def errors_of_statistics(
    agent: SpikingAgent, evaluation_observations: np.ndarray, generator: np.random.Generator
) -> list[dict[str, Any]]:
    """Return the rows of ``statistics_error.csv`` (without ``timesteps``) of every network that
    keeps statistics.

    Phase ``before`` is before this step's re-calibration, or the current state where there was
    none. Phase ``after`` exists only where there was one. Errors are measured on two samples: the
    experience that the agent learns from, and the observations of the evaluation episodes. The
    latter were visited with the current statistics: there, ``before`` tells how well the earlier
    statistics would have fitted them.

    :param agent: any agent; one without moving statistics has no rows
    :param evaluation_observations: ``[n, ...]``, as the policy saw them
    :param generator: draws the sample of the agent's experience
    """
    limit = _limit(evaluation_observations)
    visited = torch.as_tensor(_thinned(evaluation_observations, limit)).to(agent.device)
    rows: list[dict[str, Any]] = []
    for name, part in agent.parts().items():
        if norm_layers(part):
            samples = {"evaluation": agent.part_inputs(name, visited)}
            experienced = agent.sample_inputs(name, limit, generator)
            if experienced is not None:
                samples[agent.experience] = experienced
            rows += _errors(name, part, samples, _statistics_before_recalibration(agent, name))
    return rows


def activity(agent: SpikingAgent, observations: np.ndarray) -> dict[str, float]:
    """Return firing rate per layer, saturation of population codes and, where there are, mean
    confidence gains and the state of regulated thresholds, for the progress table.

    :param observations: ``[n, ...]``, those of the evaluation episodes, as the policy saw them
    """
    limit = min(_limit(observations), BATCH)
    shown = torch.as_tensor(_thinned(observations, limit)).to(agent.device)
    values: dict[str, float] = {}
    for name in agent.parts():
        seen = agent.activity(name, agent.part_inputs(name, shown))
        values |= {f"firing_rate/{short(name, path)}": rate for path, rate in seen.rates.items()}
        values |= {f"saturation/{short(name, path)}": s for path, s in seen.saturation.items()}
        for layers in (seen.gains, seen.thresholds):
            for path, found in layers.items():
                values |= {f"{key}/{short(name, path)}": value for key, value in found.items()}
    return values


def costs(agent: SpikingAgent, observations: np.ndarray) -> dict[str, float]:
    """Return what an action costs, for the progress table, of an agent whose actor spikes: synaptic
    operations (accumulations and MACs) of each spiking layer and of all parts, and the energy in
    nJ. An ordinary actor always costs the same.

    :param observations: ``[n, ...]``, those of the evaluation episodes, as the policy saw them
    :raises UserError: a network whose operations are unknown
    """
    if agent.acting_network() is None:
        return {}
    limit = min(_limit(observations), BATCH)
    cost = cost_of(agent, _thinned(observations, limit))
    values = {
        f"synaptic_operations/{short('actor', layer.name)}": layer.acs + layer.macs
        for layer in cost.layers
        if layer.kind == "spiking"
    }
    values["cost/synaptic_operations"] = cost.total.acs + cost.total.macs
    return values | {f"cost/energy_{e.name}_nj": cost.total.energy(e) for e in ENERGIES}


def short(part: str, path: str) -> str:
    """Return the name of a layer in tables: ``layer0``, ``conv0``, ``encoder``; for a critic
    ``critic.layer0``, for one of two ``critic.q0.layer0``.

    :param part: name of the network
    :param path: path of a module in it, such as ``network.layers.0.norm``
    """
    where = [] if part in ("actor", "q_network") else [part]
    if one_of_several := re.search(r"\b(?:networks\.|qf|\w+_layers\.)(\d+)\.", path):
        where.append(f"q{one_of_several[1]}")
    layer = re.search(r"\blayers\.(\d+)\b", path)
    if layer is None:
        kind = path.rpartition(".")[2]
    else:
        conv = re.search(r"\bconv\.|\blayers\.layers\.", path)
        kind = f"{'conv' if conv else 'layer'}{layer[1]}"
    return ".".join([*where, kind])


def _statistics_before_recalibration(agent: SpikingAgent, name: str) -> Statistics | None:
    """Return the part's statistics from before a re-calibration at this step, if there was one."""
    step = agent.num_timesteps
    just_now = step > 0 and agent.recalibrated_at.get(name) == step
    return agent.statistics_before[name] if just_now else None


def _errors(
    name: str, part: AgentPart, samples: dict[str, tuple[Tensor, ...]], before: Statistics | None
) -> list[dict[str, Any]]:
    now = [(layer.moving_mean.clone(), layer.moving_var.clone()) for layer in norm_layers(part)]
    phases = {"before": before or now, **({"after": now} if before else {})}
    rows = []
    for phase, statistics in phases.items():
        _set_statistics(part, statistics)
        for data, inputs in samples.items():
            errors = statistics_error(part, _batches(inputs))
            rows += [
                {"data": data, "phase": phase, "layer": short(name, path), **error._asdict()}
                for path, error in errors.items()
            ]
    _set_statistics(part, now)
    return rows


def _limit(observations: np.ndarray) -> int:
    return IMAGES if observations.ndim == 4 else VECTORS


def _thinned(observations: np.ndarray, limit: int) -> np.ndarray:
    """Return at most ``limit`` of the observations, evenly spaced."""
    return observations[:: math.ceil(len(observations) / limit)]


def _batches(inputs: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(tensor.split(BATCH) for tensor in inputs), strict=True)


def _set_statistics(network: nn.Module, statistics: Statistics) -> None:
    for layer, (mean, var) in zip(norm_layers(network), statistics, strict=True):
        layer.moving_mean.copy_(mean)
        layer.moving_var.copy_(var)
