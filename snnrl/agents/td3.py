"""TD3 with a spiking actor."""

from __future__ import annotations

import inspect
from copy import deepcopy
from typing import Any, ClassVar

import numpy as np
import stable_baselines3
import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import MaybeCallback, ReplayBufferSamples, Schedule
from stable_baselines3.common.utils import polyak_update, update_learning_rate
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor

from snnrl.agents.actor import SPIKING_DEFAULTS, SpikingActor
from snnrl.agents.buffers import ReplayBuffer, random_observations
from snnrl.agents.losses import Losses
from snnrl.agents.recalibration import Recalibration
from snnrl.errors import UserError, expect
from snnrl.nn.norm import make_strategy, norm_layers, recalibrating, sync_target

Statistics = list[tuple[Tensor, Tensor]]

_FROM_SB3 = list(inspect.signature(TD3Policy).parameters)
POLICY_KEYWORDS = (*SPIKING_DEFAULTS, *_FROM_SB3[_FROM_SB3.index("net_arch") :])
"""What ``policy_kwargs`` of a spiking policy may hold."""


class AnnPolicy(TD3Policy):
    """The same agent with an ordinary actor: the baseline, 256-256 like the spiking one."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        **kwargs: Any,
    ):
        arch = [256, 256] if net_arch is None else net_arch
        super().__init__(observation_space, action_space, lr_schedule, arch, **kwargs)


class SpikingPolicy(AnnPolicy):
    """Spiking actor, ordinary critics.

    :param net_arch: hidden neurons, ``[256, 256]`` or ``dict(pi=[...], qf=[...])``
    :param neuron: ``lif``, ``clif``, ``dn``; here and below a name or
        ``dict(name=..., **parameters)``
    :param surrogate: ``rectangular``, ``sigmoid``, ``tanh``, ``triangle``
    :param encoder: ``population``, ``direct``
    :param bn: ``none``, ``vanilla``, ``ca_only``, ``re_only``, ``carebn``
    :param time_steps: time steps T of one forward pass
    :param population: output neurons per action dimension
    :param kernel: ``naive``, ``compile``, ``auto`` (naive: no run's length is known here)
    :param kwargs: those of SB3's ``TD3Policy``; ``activation_fn`` is the critics'
    :raises UserError: unknown name or parameter, or observations that are not one array
    """

    actor: SpikingActor  # type: ignore[assignment]

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        **kwargs: Any,
    ):
        for key in kwargs:
            expect("policy_kwargs", key, POLICY_KEYWORDS)
        if not isinstance(observation_space, spaces.Box):
            raise UserError(
                f"SpikingPolicy: takes observations that are one array (Box), not "
                f"{type(observation_space).__name__}; wrap the environment in FlattenObservation"
            )
        self.spiking = {key: kwargs.pop(key, value) for key, value in SPIKING_DEFAULTS.items()}
        super().__init__(observation_space, action_space, lr_schedule, net_arch, **kwargs)

    def make_actor(  # type: ignore[override]
        self, features_extractor: BaseFeaturesExtractor | None = None
    ) -> SpikingActor:
        """A new actor, online or target."""
        network = dict(self.spiking)
        norm = make_strategy(network.pop("bn"))
        arguments = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return SpikingActor(**arguments, norm=norm, network=network).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), **self.spiking}


class TD3(stable_baselines3.TD3):
    """Twin delayed DDPG (Fujimoto et al. 2018); arguments as in Stable-Baselines3.

    ``TD3("SpikingPolicy", env, policy_kwargs=dict(neuron="lif", bn="carebn"))``. With a strategy
    that re-calibrates, ``learn`` does so each ``recalibrate_every`` environment steps, after the
    update, from the replay buffer and with a generator of its own. SB3's ``EvalCallback`` acts
    before the update, so it sees the statistics of the re-calibration before: call
    :meth:`recalibrate` ahead of an evaluation that should not.

    :raises UserError: a policy keyword that does not exist, or a value that does not fit
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **stable_baselines3.TD3.policy_aliases,
        "SpikingPolicy": SpikingPolicy,
        "AnnPolicy": AnnPolicy,
    }

    def _setup_model(self) -> None:
        self.policy_kwargs = deepcopy(self.policy_kwargs)
        one_array = isinstance(self.observation_space, spaces.Box)
        if self.replay_buffer_class is None and self.n_steps == 1 and one_array:
            self.replay_buffer_class = ReplayBuffer
        super()._setup_model()
        self.losses = Losses()
        self.statistics_before_recalibration: Statistics | None = None
        if not hasattr(self, "recalibrated_at"):
            self.recalibrated_at = 0
            self.recalibration_generator = np.random.default_rng(self.seed)

    # Updates

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Gradient steps on the replay buffer: targets, critics, and each ``policy_delay`` steps
        the actor and its followers.

        The actor's pass in its own loss is its only one in training mode: there its
        normalisation uses batch statistics and moves the moving ones.
        """
        self.policy.set_training_mode(True)
        self._set_learning_rates()
        assert self.replay_buffer is not None
        for _ in range(gradient_steps):
            self._n_updates += 1
            batch = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            self._update_critic(batch, self._target_values(batch))
            if self._n_updates % self.policy_delay == 0:
                self._update_actor(batch)
                self._update_targets()

    @torch.no_grad()
    def _target_values(self, batch: ReplayBufferSamples) -> Tensor:
        """``r + gamma (1 - done) min_i Q'_i(s', pi'(s') + clipped noise)``, ``[B, 1]``."""
        discounts = self.gamma if batch.discounts is None else batch.discounts
        noise = torch.empty_like(batch.actions).normal_(0, self.target_policy_noise)
        noise = noise.clamp(-self.target_noise_clip, self.target_noise_clip)
        next_actions = (self.actor_target(batch.next_observations) + noise).clamp(-1, 1)
        next_values = torch.cat(self.critic_target(batch.next_observations, next_actions), dim=1)
        lowest = next_values.min(dim=1, keepdim=True).values
        return batch.rewards + (1 - batch.dones) * discounts * lowest

    def _update_critic(self, batch: ReplayBufferSamples, targets: Tensor) -> None:
        values = self.critic(batch.observations, batch.actions)
        loss = sum((F.mse_loss(value, targets) for value in values), torch.zeros(()))
        self._step(self.critic.optimizer, loss)
        self.losses.add("train/critic_loss", loss)

    def _update_actor(self, batch: ReplayBufferSamples) -> None:
        actions = self.actor(batch.observations)
        loss = -self.critic.q1_forward(batch.observations, actions).mean()
        self._step(self.actor.optimizer, loss)
        self.losses.add("train/actor_loss", loss)

    def _update_targets(self) -> None:
        polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
        polyak_update(self.actor.parameters(), self.actor_target.parameters(), self.tau)
        # Running statistics of torch's own layers, in a features extractor: copied, as SB3 does.
        polyak_update(self.critic_batch_norm_stats, self.critic_batch_norm_stats_target, 1.0)
        polyak_update(self.actor_batch_norm_stats, self.actor_batch_norm_stats_target, 1.0)
        if isinstance(self.actor, SpikingActor):
            norm = self.actor.norm
            sync_target(self.actor, self.actor_target, self.tau, norm.target_stats)

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def _critic_schedule(self) -> Schedule:
        return self.lr_schedule

    def _set_learning_rates(self) -> None:
        progress = self._current_progress_remaining
        update_learning_rate(self.actor.optimizer, self.lr_schedule(progress))
        update_learning_rate(self.critic.optimizer, self._critic_schedule()(progress))

    # Re-calibration

    def recalibration_due(self) -> bool:
        """Whether the actor's strategy asks for a re-calibration at this step."""
        every = self.actor.norm.recalibrate_every if isinstance(self.actor, SpikingActor) else None
        if not every or self.replay_buffer is None or self.replay_buffer.size() == 0:
            return False
        return self.num_timesteps // every > self.recalibrated_at // every

    def recalibrate(self) -> None:
        """Replace the actor's moving statistics by those pooled over replay minibatches.

        ``recalibrate_batches`` minibatches of the training batch size; see
        :func:`snnrl.nn.norm.recalibrating`. The statistics from before are kept for measuring.
        """
        assert isinstance(self.actor, SpikingActor)
        layers = norm_layers(self.actor)
        self.statistics_before_recalibration = [
            (layer.moving_mean.clone(), layer.moving_var.clone()) for layer in layers
        ]
        with recalibrating(self.actor):
            for _ in range(self.actor.norm.recalibrate_batches):
                self.actor(self.replay_observations(self.batch_size, self.recalibration_generator))
        self.recalibrated_at = self.num_timesteps

    def replay_observations(self, batch_size: int, generator: np.random.Generator) -> Tensor:
        """Observations ``[batch_size, ...]`` from the replay buffer, normalised as in training."""
        assert self.replay_buffer is not None
        return random_observations(
            self.replay_buffer, batch_size, generator, self._vec_normalize_env
        )

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        given = callback if isinstance(callback, list) else [callback]
        callbacks = [c if isinstance(c, BaseCallback) else ConvertCallback(c) for c in given]
        return super()._init_callback([Recalibration(), *callbacks], progress_bar)

    # Logging and saving

    def dump_logs(self) -> None:
        """Write what was logged, losses included.

        :raises NonFiniteError: a loss since the last call is NaN or infinite
        """
        for name, mean in self.losses.drain(self.num_timesteps).items():
            self.logger.record(name, mean)
        learning_rate = self.actor.optimizer.param_groups[0]["lr"]
        self.logger.record("train/learning_rate", learning_rate)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        super().dump_logs()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "losses", "statistics_before_recalibration"]
