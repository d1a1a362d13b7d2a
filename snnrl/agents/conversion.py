"""Agents with an ordinary actor, acting as networks of integrate-and-fire neurons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from snnrl.agents.base import SpikingAgent
from snnrl.errors import UserError
from snnrl.nn.conversion import Layer, corrected_start, find_layers, firing, share_above
from snnrl.parameters import AtLeast, Between, parameters_of

BATCH = 256
"""Observations of one pass of the ordinary network."""

State = tuple[np.ndarray, ...]
"""Membrane potentials of each layer before an action's first time step, ``[environments, N]``."""


@dataclass(frozen=True)
class ConvertedAgent:
    """An agent whose ordinary actor (DQN: Q-network) acts as integrate-and-fire neurons.

    It acts and does not learn, and has no file of its own: save the agent, and convert it again.
    So it must be too if its agent learns on.

    :param agent: the agent, which stays as it is
    :param layers: of :func:`convert`
    :param time_steps: time steps T of an action
    :param correction: share of the residual of an action that the next one starts with, 0 to 1; 0
        is conversion without CRPI (arXiv 2601.21778)
    :raises UserError: a number out of its range
    """

    agent: SpikingAgent
    layers: Sequence[Layer]
    time_steps: Annotated[int, AtLeast(1)]
    correction: Annotated[float, Between(0, 1)] = 1.0

    def __post_init__(self) -> None:
        known = parameters_of(ConvertedAgent)
        for name in ("time_steps", "correction"):
            known[name].check(name, getattr(self, name))

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Return the agent's."""
        return self.agent.observation_space

    @property
    def num_timesteps(self) -> int:
        """Return the environment steps that the agent has learned from."""
        return self.agent.num_timesteps

    def normalize(self, observations: np.ndarray) -> np.ndarray:
        """Return the observations as the policy sees them."""
        return self.agent.normalize(observations)

    def predict(
        self,
        observation: np.ndarray,
        state: State | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, State]:
        """Return actions and the next state, as Stable-Baselines3's recurrent policies do.

        :param observation: of one environment, or of several
        :param state: the one that the last call returned; ``None``: episodes start
        :param episode_start: whether each environment's episode starts, whose state is then reset
        :param deterministic: the only way in which a converted actor acts
        :raises UserError: ``deterministic=False``, a state of other environments, or an observation
            that is not finite, which would fire no spike and pass unnoticed
        """
        if not deterministic:
            raise UserError("deterministic=False: a converted actor draws nothing; expected True")
        _check_finite(observation)
        starts = None if state is None else self._starts(state, episode_start)
        with firing(self.layers, self.time_steps, starts) as done:
            actions, _ = self.agent.policy.predict(observation, deterministic=True)
        return actions, tuple(
            corrected_start(start, fired, layer.threshold, self.correction).cpu().numpy()
            for layer, (start, fired) in zip(self.layers, done, strict=True)
        )

    def share_above(self, observations: np.ndarray) -> float:
        """Return the share of the ordinary network's activations that are above their thresholds.

        Neurons cannot send more than their thresholds, however many the time steps.

        :param observations: at least one, as the policy sees them, ``[n, ...]``
        """
        return share_above(self.layers, _pass_of(self.agent), _batches(observations))

    def save(self, *arguments: object, **options: object) -> None:
        """Refuse.

        :raises UserError: always
        """
        raise UserError(
            "save: a converted agent has no file; expected agent.save(...) of its ordinary agent, "
            "which convert(...) converts again"
        )

    @classmethod
    def load(cls, *arguments: object, **options: object) -> ConvertedAgent:
        """Refuse.

        :raises UserError: always
        """
        raise UserError(
            "load: a converted agent has no file; expected the ordinary agent's load(...), then "
            "convert(...)"
        )

    def _starts(self, state: State, episode_start: np.ndarray | None) -> list[Tensor]:
        """Return each layer's membrane potentials before the first time step."""
        if len(state) != len(self.layers):
            raise UserError(f"state: of {len(state)} layers; expected {len(self.layers)}")
        starts = [torch.as_tensor(each, device=self.agent.device) for each in state]
        if episode_start is None:
            return starts
        begins = torch.as_tensor(np.asarray(episode_start, dtype=bool), device=self.agent.device)
        for each in starts:
            if begins.shape != each.shape[:1]:
                raise UserError(
                    f"episode_start: of shape {tuple(begins.shape)}; expected ({len(each)},), as "
                    "the state"
                )
        return [
            torch.where(begins.view(-1, *[1] * layer.threshold.dim()), layer.threshold / 2, each)
            for layer, each in zip(self.layers, starts, strict=True)
        ]


def convert(
    agent: SpikingAgent,
    observations: np.ndarray,
    time_steps: int = 100,
    correction: float = 1.0,
) -> ConvertedAgent:
    """Return the agent with its ordinary actor converted to integrate-and-fire neurons.

    :param agent: the agent
    :param observations: as the policy sees them, ``[n, ...]``: the largest activation of each
        neuron on them is its threshold, above which it cannot go
    :param time_steps, correction: see :class:`ConvertedAgent`
    :raises UserError: no observation, one that is not finite, a spiking actor, or one that is no
        chain of maps and ReLUs
    """
    if len(observations) == 0:
        raise UserError("observations: none; expected some, whose activations become thresholds")
    _check_finite(observations)
    if agent.acting_network() is not None:
        raise UserError("actor=spiking: spikes already; expected an agent with an ordinary actor")
    agent.policy.set_training_mode(False)
    layers = find_layers(agent.policy, _pass_of(agent), _batches(observations))
    return ConvertedAgent(agent, layers, time_steps, correction)


def _pass_of(agent: SpikingAgent) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that acts on a batch of observations."""
    return lambda shown: agent.policy.predict(shown, deterministic=True)[0]


def _batches(observations: np.ndarray) -> list[np.ndarray]:
    return np.array_split(observations, math.ceil(len(observations) / BATCH))


def _check_finite(observations: np.ndarray) -> None:
    """Refuse observations of which one is not finite."""
    if not np.isfinite(observations).all():
        raise UserError("observations: one is NaN or infinite; expected finite numbers")
