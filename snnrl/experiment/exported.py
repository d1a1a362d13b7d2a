"""Exported policies in the environments of their agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from snnrl.agents.base import SpikingAgent
from snnrl.deploy.agreement import Agreement, compare_spikes
from snnrl.deploy.runtime import Policy
from snnrl.experiment.evaluation import Evaluator

COMPARED = 1000
"""Most observations on which every spike is compared."""


class ExportedAgent(NamedTuple):
    """What an exported policy does, as an evaluation plays it.

    :param act: observations ``[B, ...]``, which it normalises itself -> actions ``[B, ...]``
    :param observation_space: of the environment
    :param num_timesteps: environment steps that its agent has learned from
    """

    act: Callable[[np.ndarray], np.ndarray]
    observation_space: spaces.Space[Any]
    num_timesteps: int

    def normalize(self, observations: np.ndarray) -> np.ndarray:
        """Return the observations as they are."""
        return observations

    def predict(
        self, observation: Any, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[np.ndarray, None]:
        """Return actions and no state."""
        return self.act(observation), None


class Played(NamedTuple):
    """Episodes of an agent and of the policies made of it.

    :param agent: returns of the agent
    :param policies: returns of each policy, in the same episodes
    :param agreement: of the first policy's spikes with the agent's, on its observations
    :param observations: of the agent's episodes, as the policy sees them
    """

    agent: list[float]
    policies: list[list[float]]
    agreement: Agreement
    observations: np.ndarray


def play(agent: SpikingAgent, policies: list[Policy], evaluator: Evaluator) -> Played:
    """Play the same episodes with an agent and the policies made of it.

    :param policies: the first one has the agent's own numbers
    :raises UserError: its spikes are not the agent's
    """
    usual = evaluator.run(agent)
    returns, observations = [], []
    for policy in policies:
        acting = ExportedAgent(policy.act, agent.observation_space, agent.num_timesteps)
        episodes = evaluator.run(acting)
        returns.append([episode.total_reward for episode in episodes])
        observations.append(np.concatenate([episode.observations for episode in episodes]))
    shown = observations[0]
    shown = shown[:: -(-len(shown) // COMPARED)]
    return Played(
        [episode.total_reward for episode in usual],
        returns,
        compare_spikes(agent, policies[0], shown),
        np.concatenate([episode.observations for episode in usual]),
    )
