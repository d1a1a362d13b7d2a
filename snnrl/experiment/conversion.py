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
"""First steps of each episode, on whose observations actions are compared."""


def measure_conversion(
    agent: SpikingAgent,
    recorded: Evaluator,
    recorded_steps: int,
    played: Evaluator,
    time_steps: Sequence[int],
    corrections: Sequence[float],
) -> Iterator[Conversion]:
    """Yield the episodes of the ordinary agent, then those of each conversion.

    :param recorded: where the ordinary agent acts for the observations that set the thresholds
    :param recorded_steps: number of these observations
    :param played: the episodes in which all are compared, the same for each
    :param time_steps: numbers T
    :param corrections: shares of the residual, see :class:`ConvertedAgent`
    :raises UserError: an actor that cannot be converted, before the first is yielded
    """
    converted = convert(agent, recorded.record(agent, recorded_steps))
    first: list[np.ndarray] = []

    def keep(shown: np.ndarray) -> None:
        if len(first) < COMPARED_STEPS:
            first.append(shown.copy())

    episodes = played.run(agent, sees=keep)
    above = converted.share_above(np.concatenate([each.observations for each in episodes]))
    lengths = [each.length for each in episodes]
    yield Conversion(None, None, _returns(episodes), 0.0, above)
    for correction in corrections:
        for steps in time_steps:
            one = replace(converted, time_steps=steps, correction=correction)
            difference = action_difference(one, first, lengths)
            yield Conversion(steps, correction, _returns(played.run(one)), difference, above)


def _returns(episodes: Sequence[Episode]) -> list[float]:
    return [episode.total_reward for episode in episodes]


def action_difference(
    converted: ConvertedAgent, shown: Sequence[np.ndarray], lengths: Sequence[int]
) -> float:
    """Return how far actions are from the ordinary ones in episodes of these, on average.

    The absolute difference of actions scaled to [-1, 1]; of discrete ones the share that differs.
    Each episode's state is carried along.

    :param shown: observations of each step from the first one on, as the policy sees them,
        ``[episodes, ...]``
    :param lengths: steps of each episode; behind them its observations count no more
    """
    state: State | None = None
    differences = []
    for step, observations in enumerate(shown):
        usual, _ = converted.agent.predict(observations, deterministic=True)
        actions, state = converted.predict(observations, state)
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
