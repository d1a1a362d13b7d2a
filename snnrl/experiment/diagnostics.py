"""Numbers about the network itself, taken at each evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snnrl.agents import TD3
from snnrl.agents.actor import SpikingActor
from snnrl.nn.activity import firing_rates
from snnrl.nn.norm import PooledBatchNorm, norm_layers
from snnrl.nn.norm.confidence import ConfidenceUpdate
from snnrl.nn.norm.error import statistics_error

REPLAY_SAMPLE = 4096
"""Replay observations that stand for the buffer."""

EVALUATION_SAMPLE = 4096
"""At most so many of an evaluation's observations, evenly spread."""

BATCH = 512


def errors_of_statistics(
    agent: TD3,
    evaluation_observations: np.ndarray,
    before: list[tuple[Tensor, Tensor]] | None,
    generator: np.random.Generator,
) -> list[dict[str, Any]]:
    """Rows of ``statistics_error.csv`` (without ``timesteps``).

    Phase ``before`` is before the re-calibration of this step, or simply now where there was none;
    ``after`` only exists where there was one. On two samples: the replay buffer, and the
    observations of the evaluation episodes, which the policy visited with the statistics it has
    now: ``before`` asks how well the earlier statistics would have fitted those.

    :param agent: any agent; one without moving statistics has no rows
    :param evaluation_observations: ``[n, ...]``
    :param before: means and variances from before the re-calibration, if there was one
    :param generator: draws the replay sample
    """
    if not isinstance(agent.actor, SpikingActor) or not norm_layers(agent.actor):
        return []
    visited = _thinned(evaluation_observations, EVALUATION_SAMPLE)
    samples = {"evaluation": torch.as_tensor(visited).to(agent.device)}
    if agent.replay_buffer is not None and agent.replay_buffer.size() > 0:
        samples["replay"] = agent.replay_observations(REPLAY_SAMPLE, generator)
    now = [
        (layer.moving_mean.clone(), layer.moving_var.clone()) for layer in norm_layers(agent.actor)
    ]
    phases = {"before": before or now, **({"after": now} if before else {})}
    rows = []
    for phase, statistics in phases.items():
        _set_statistics(agent.actor, statistics)
        for data, sample in samples.items():
            errors = statistics_error(agent.actor, _batches(sample))
            rows += [
                {"data": data, "phase": phase, "layer": _short(layer), **error._asdict()}
                for layer, error in errors.items()
            ]
    _set_statistics(agent.actor, now)
    return rows


def activity(agent: TD3, observations: np.ndarray) -> dict[str, float]:
    """Firing rate per layer, and mean confidence gains, for the progress table.

    :param observations: ``[n, ...]``, those of the evaluation episodes
    """
    if not isinstance(agent.actor, SpikingActor):
        return {}
    shown = torch.as_tensor(_thinned(observations, BATCH)).to(agent.device)
    rates = firing_rates(agent.actor, shown)
    values = {f"firing_rate/{_short(name)}": rate for name, rate in rates.items()}
    for name, module in agent.actor.named_modules():
        if isinstance(module, PooledBatchNorm) and isinstance(module.update, ConfidenceUpdate):
            values[f"gain_mean/{_short(name)}"] = module.update.gain_mean.mean().item()
            values[f"gain_var/{_short(name)}"] = module.update.gain_var.mean().item()
    return values


def _short(name: str) -> str:
    """``network.layers.0.norm`` -> ``layer0``; the encoder is ``encoder``."""
    parts = name.split(".")
    return f"layer{parts[2]}" if parts[1] == "layers" else parts[1]


def _thinned(observations: np.ndarray, limit: int) -> np.ndarray:
    """At most ``limit`` of them, evenly spread."""
    return observations[:: math.ceil(len(observations) / limit)]


def _batches(sample: Tensor) -> Iterator[Tensor]:
    yield from sample.split(BATCH)


def _set_statistics(network: nn.Module, statistics: list[tuple[Tensor, Tensor]]) -> None:
    for layer, (mean, var) in zip(norm_layers(network), statistics, strict=True):
        layer.moving_mean.copy_(mean)
        layer.moving_var.copy_(var)
