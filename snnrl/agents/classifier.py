"""Supervised learning of classes, by the networks and the machinery of the agents."""

from __future__ import annotations

import sys
import time
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback, Schedule
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor

from snnrl.agents import dqn
from snnrl.agents.minibatches import MinibatchAgent
from snnrl.agents.policies.options import SpikingOptions
from snnrl.data import DataStream
from snnrl.errors import UserError
from snnrl.seeds import SEEDINGS


class ImageOptions(SpikingOptions):
    """The spiking options of a classifier, whose networks may read images as vectors."""

    flattens_images = True


class OneNetwork(DQNPolicy):
    """A mixin for DQN's policies: no target network.

    :raises UserError: a common mode, which moves all logits alike
    """

    def __init__(self, *args: Any, **kwargs: Any):
        if kwargs.get("common_mode"):
            raise UserError(
                "common_mode=True: moves the logits of all classes alike, which changes neither "
                "class nor loss; expected False"
            )
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        self.q_net = self.make_q_net()
        self.optimizer = self.optimizer_class(
            self.q_net.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )


class AnnPolicy(OneNetwork, dqn.AnnPolicy):
    """An ordinary classifier; parameters as of DQN's policy."""


class SpikingPolicy(OneNetwork, dqn.SpikingPolicy):
    """A spiking classifier; parameters as of DQN's policy."""

    options_class = ImageOptions


class Classifier(MinibatchAgent):
    """Learn classes from labelled examples, by cross entropy and Adam.

    ``Classifier("SpikingPolicy", DataStream(...), policy_kwargs=dict(neuron="lif", bn="bntt"))``.
    Its network is DQN's Q-network: a class is an action, a logit its value. A step is an example;
    ``predict`` returns classes.

    :param policy: ``SpikingPolicy`` or ``AnnPolicy``
    :param env: the training examples
    :param learning_rate: of Adam
    :param policy_kwargs: arguments of the policy
    :param batch_size: examples of a minibatch, as those of ``env``; ``None``: as those
    :param kwargs: ``seed``, ``device``, ``verbose``, ``tensorboard_log`` of Stable-Baselines3
    :raises UserError: a policy keyword that does not exist, or a value that does not fit
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "SpikingPolicy": SpikingPolicy,
        "AnnPolicy": AnnPolicy,
    }

    experience = "data"
    action_spaces = (spaces.Discrete,)
    reads_images = True
    critics = ("none",)
    critic_key = None
    usual_readout = "linear"
    without_effect = ("refresh_kl", "target_stats")
    loss_names: ClassVar[dict[str, str]] = {"actor": "train/loss"}

    policy: Any

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: DataStream | None,
        learning_rate: float | Schedule = 1e-3,
        policy_kwargs: dict[str, Any] | None = None,
        batch_size: int | None = None,
        _init_setup_model: bool = True,
        **kwargs: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            policy_kwargs=policy_kwargs,
            support_multi_env=True,
            supported_action_spaces=self.action_spaces,
            **kwargs,
        )
        if env is not None and batch_size not in (None, env.num_envs):
            raise UserError(
                f"batch_size={batch_size}: env shows {env.num_envs} examples at a time; expected "
                "the same number, or none"
            )
        self.batch_size = 0 if env is None else env.num_envs
        self._n_updates = 0
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        super()._setup_model()
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        made = self.policy_class(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            **self.policy_kwargs,
        )
        self.policy = made.to(self.device)
        self.actor = self.policy.q_net
        self._prepare()
        if not hasattr(self, "recalibration_generators"):
            self.seed_recalibration(SEEDINGS["independent"])

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "Classifier",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learn, with callbacks as those of Stable-Baselines3: a rollout is a minibatch.

        :param total_timesteps: examples to show
        :param log_interval: unused; :meth:`dump_logs` writes the log
        """
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        assert self.env is not None
        # Each update is told the progress before it, the first one of a later ``learn`` too.
        self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
        while self.num_timesteps < total_timesteps:
            callback.on_rollout_start()
            (labels,) = self.env.get_attr("labels")
            self.train(self._last_obs, labels)
            new_obs, rewards, _, infos = self.env.step(self._guesses)
            self.num_timesteps += self.n_envs
            self._last_obs = new_obs  # type: ignore[assignment]
            callback.update_locals(locals())
            if not callback.on_step():
                break
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            callback.on_rollout_end()
        callback.on_training_end()
        return self

    def train(self, inputs: Any, labels: np.ndarray) -> None:
        """Take one gradient step.

        The network's only pass in training mode is that in the loss.

        :param inputs: ``[B, ...]``
        :param labels: classes ``[B]``
        """
        self._begin_update()
        self._update_learning_rate(self.policy.optimizer)
        observations, _ = self.policy.obs_to_tensor(inputs)
        classes = torch.as_tensor(labels, device=self.device)
        logits = self.actor(observations)
        self._learn("actor", self.policy.optimizer, F.cross_entropy(logits, classes))
        guesses = logits.detach().argmax(1)
        self._keep_loss("train/accuracy", 100 * (guesses == classes).float().mean())
        self._guesses = guesses.cpu().numpy()
        self._n_updates += 1
        self.policy.set_training_mode(False)
        self.latest_losses.settle()

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = self.policy.optimizer
        return optimizer

    def has_experience(self) -> bool:
        return self.env is not None

    def part_inputs(self, name: str, observations: Tensor) -> tuple[Tensor, ...]:
        return (observations,)

    def sample_inputs(
        self, name: str, n: int, generator: np.random.Generator
    ) -> tuple[Tensor, ...] | None:
        if self.env is None:
            return None
        (inputs,) = self.env.env_method("sample", n, generator)
        tensor, _ = self.policy.obs_to_tensor(inputs)
        return (tensor,)

    def dump_logs(self) -> None:
        """Write the log, losses included.

        :raises NonFiniteError: a loss since the last call is NaN or infinite
        """
        self._record_updates()
        self._record_activity()
        seconds = max((time.time_ns() - self.start_time) / 1e9, sys.float_info.epsilon)
        shown = self.num_timesteps - self._num_timesteps_at_start
        self.logger.record("time/fps", int(shown / seconds))
        self.logger.record("time/time_elapsed", int(seconds), exclude="tensorboard")
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(step=self.num_timesteps)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "actor", "_guesses"]
