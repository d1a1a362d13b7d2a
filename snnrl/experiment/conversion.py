"""Episodes of a converted agent, for each number of time steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces

from snnrl.agents.base import SpikingAgent
from snnrl.agents.conversion import ConvertedAgent, State, convert
from snnrl.analysis.conversion import Conversion
from snnrl.experiment.evaluation import Episode, Evaluator

COMPARED_STEPS = 100
"""Steps of each recorded episode on which actions are compared."""


def measure_conversion(
    agent: SpikingAgent,
    recorded: Evaluator,
    played: Evaluator,
    time_steps: Sequence[int],
    corrections: Sequence[float],
) -> Iterator[Conversion]:
    """Yield the episodes of the ordinary agent, then those of each conversion.

    :param recorded: the ordinary agent's episodes whose observations set the thresholds
    :param played: the episodes in which all are compared, the same for each
    :param time_steps: numbers T
    :param corrections: shares of the residual, see :class:`ConvertedAgent`
    :raises UserError: an actor that cannot be converted, before the first is yielded
    """
    observations = np.concatenate([episode.observations for episode in recorded.run(agent)])
    converted = convert(agent, observations)
    episodes = played.run(agent)
    yield Conversion(None, None, _returns(episodes), 0.0)
    for correction in corrections:
        for steps in time_steps:
            one = replace(converted, time_steps=steps, correction=correction)
            difference = action_difference(one, [e.observations for e in episodes])
            yield Conversion(steps, correction, _returns(played.run(one)), difference)


def _returns(episodes: Sequence[Episode]) -> list[float]:
    return [episode.total_reward for episode in episodes]


def action_difference(converted: ConvertedAgent, episodes: Sequence[np.ndarray]) -> float:
    """Return how far actions are from the ordinary ones on recorded observations, on average.

    The absolute difference of actions scaled to [-1, 1]; of discrete ones the share that differs.
    Each episode's state is carried along its first :data:`COMPARED_STEPS` observations.

    :param episodes: observations of each as the policy sees them, ``[n, ...]``, in order
    """
    state: State | None = None
    differences = []
    lengths = [min(len(episode), COMPARED_STEPS) for episode in episodes]
    for step in range(max(lengths)):
        # Episodes that have ended stay in the batch, so that the state keeps its shape.
        shown = np.stack([episode[min(step, len(episode) - 1)] for episode in episodes])
        usual, _ = converted.agent.predict(shown, deterministic=True)
        actions, state = converted.predict(shown, state)
        going = [step < length for length in lengths]
        differences.append(_difference(converted.agent, actions[going], usual[going]))
    return float(np.concatenate(differences).mean())


def _difference(agent: SpikingAgent, actions: np.ndarray, others: np.ndarray) -> Any:
    """Return the difference of each number in two batches of actions, flat."""
    if not isinstance(agent.action_space, spaces.Box):
        return (actions != others).astype(float).ravel()
    if agent.policy.squash_output:
        actions, others = map(agent.policy.scale_action, (actions, others))
    return np.abs(actions - others).ravel()
