"""What agents that learn from replay share: the buffer, and re-calibration from it."""

from __future__ import annotations

from copy import deepcopy
from typing import ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback
from torch import Tensor

from snnrl.agents.base import SpikingAgent, evaluation_mode
from snnrl.agents.buffers import ReplayBuffer, random_transitions
from snnrl.agents.recalibration import Recalibration
from snnrl.nn.norm import recalibrating


class ReplayAgent(SpikingAgent, OffPolicyAlgorithm):
    """Mixed into Stable-Baselines3's off-policy algorithms, in front of them.

    With a strategy that re-calibrates, ``learn`` does so each ``recalibrate_every`` environment
    steps, after the update, from the replay buffer and with generators of its own. SB3's
    ``EvalCallback`` acts before the update, so it sees the statistics of the re-calibration before:
    call :meth:`recalibrate` ahead of an evaluation that should not.
    """

    experience: ClassVar[str] = "replay"

    def _setup_model(self) -> None:
        self.policy_kwargs = deepcopy(self.policy_kwargs)
        one_array = isinstance(self.observation_space, spaces.Box)
        if self.replay_buffer_class is None and self.n_steps == 1 and one_array:
            self.replay_buffer_class = ReplayBuffer
        super()._setup_model()
        self._prepare()
        if self.parts():
            self._refuse_normalised_bytes()
        if not hasattr(self, "recalibration_generators"):
            self.recalibration_generators = {
                name: np.random.default_rng(None if self.seed is None else [self.seed, *rest])
                for name, rest in (("actor", []), ("q_network", []), ("critic", [1]))
            }

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def part_inputs(self, name: str, observations: Tensor) -> tuple[Tensor, ...]:
        if name != "critic":
            return (observations,)
        with torch.no_grad(), evaluation_mode(self.policy):
            return observations, self.policy._predict(observations, deterministic=True)

    def sample_inputs(
        self, name: str, n: int, generator: np.random.Generator
    ) -> tuple[Tensor, ...] | None:
        if self.replay_buffer is None or self.replay_buffer.size() == 0:
            return None
        observations, actions = random_transitions(
            self.replay_buffer, n, generator, self._vec_normalize_env
        )
        return (observations, actions) if name == "critic" else (observations,)

    def recalibration_due(self) -> list[str]:
        """The parts whose strategy asks for a re-calibration at this step."""
        if self.replay_buffer is None or self.replay_buffer.size() == 0:
            return []
        return [
            name
            for name, part in self.parts().items()
            if (every := part.norm.recalibrate_every)
            and self.num_timesteps // every > self.recalibrated_at.get(name, 0) // every
        ]

    def recalibrate(self, names: list[str] | None = None) -> None:
        """Replace moving statistics by those pooled over replay minibatches.

        ``recalibrate_batches`` minibatches of the training batch size for each part; see
        :func:`snnrl.nn.norm.recalibrating`. The statistics from before are kept for measuring.

        :param names: which parts; all spiking ones if not given
        """
        for name in self.parts() if names is None else names:
            part = self.parts()[name]
            generator = self.recalibration_generators[name]
            self.keep_statistics(name)
            with recalibrating(part):
                for _ in range(part.norm.recalibrate_batches):
                    inputs = self.sample_inputs(name, self.batch_size, generator)
                    if inputs is not None:
                        part(*inputs)

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        given = callback if isinstance(callback, list) else [callback]
        callbacks = [c if isinstance(c, BaseCallback) else ConvertCallback(c) for c in given]
        return super()._init_callback([Recalibration(), *callbacks], progress_bar)

    def dump_logs(self) -> None:
        """Write what was logged, losses included.

        :raises NonFiniteError: a loss since the last call is NaN or infinite
        """
        self._record_updates()
        super().dump_logs()
