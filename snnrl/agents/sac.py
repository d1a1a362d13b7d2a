"""SAC with a spiking actor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import PyTorchObs, ReplayBufferSamples
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN, SACPolicy
from torch import Tensor, nn
from torch.distributions import Distribution

from snnrl.agents.captured import Recorder
from snnrl.agents.fixed import Fixed
from snnrl.agents.followers import Followers
from snnrl.agents.modes import QuickModes
from snnrl.agents.off_policy import ReplayAgent, squared_errors
from snnrl.agents.part import SpikingModel
from snnrl.agents.policies import SpikingActorCritic
from snnrl.agents.spiking import SpikingOptions
from snnrl.errors import UserError
from snnrl.nn.adaptive import frozen


class SquashedSpikingActor(SpikingModel, BasePolicy):
    """Gaussian squashed by tanh; mean and log of the deviation come from one spiking network.

    :param net_arch: neurons of each hidden layer
    :param features_extractor: flattens the observation
    :param features_dim: its number of features
    :param options: what the user asked of spiking networks
    :param kwargs: of gSDE, which is not there for spiking actors
    :raises UserError: ``use_sde``
    """

    trains_in = "SAC"

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        net_arch: list[int],
        features_extractor: nn.Module,
        features_dim: int,
        options: SpikingOptions,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
        use_sde: bool = False,
        **kwargs: Any,
    ):
        if use_sde:
            raise UserError("use_sde=True: a spiking actor has no gSDE; expected False")
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
            squash_output=True,
        )
        actions = get_action_dim(action_space)
        self.net_arch, self.options = net_arch, options
        self.norm = options.norm
        self.action_dist = SquashedDiagGaussianDistribution(actions)
        self.network = options.make_actor(2 * actions, net_arch, features_dim)

    def forward(self, obs: PyTorchObs, deterministic: bool = True) -> Tensor:
        """Observations ``[B, ...]`` -> actions ``[B, A]`` in [-1, 1], the mean's or sampled.

        Unlike in SB3 nothing is drawn unless asked for, so that a pass that only re-calibrates or
        measures does not change what the agent draws next.
        """
        mean, log_std = self._mean_and_log_std(obs)
        return self.action_dist.actions_from_params(mean, log_std, deterministic)

    def action_log_prob(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Sampled actions ``[B, A]`` and their log-probabilities ``[B]``.

        Without gradients, as for the next action of a critic's target, the moving statistics are
        used and do not change, whatever the mode.
        """
        learns = torch.is_grad_enabled()
        with nullcontext() if learns else frozen(self):
            mean, log_std = self._mean_and_log_std(obs)
        return self.action_dist.log_prob_from_params(mean, log_std)

    def _mean_and_log_std(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        assert self.features_extractor is not None
        features = self.extract_features(obs, self.features_extractor)
        values = self._spiking_pass(self.network, features)
        mean, log_std = values.chunk(2, dim=1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        actions: Tensor = self(observation, deterministic)
        return actions


class AnnPolicy(QuickModes, SACPolicy):
    """The same agent with ordinary networks: the baseline, 256-256."""


class SpikingPolicy(SpikingActorCritic, AnnPolicy):
    """Spiking actor, ordinary or spiking critics; see :class:`SpikingActorCritic`."""

    stock = SACPolicy
    actor_class = SquashedSpikingActor


class SAC(ReplayAgent, stable_baselines3.SAC):
    """Soft actor-critic (Haarnoja et al. 2018); arguments as in Stable-Baselines3.

    ``SAC("SpikingPolicy", env, policy_kwargs=dict(neuron="lif", bn="carebn"))``.

    :raises UserError: a policy keyword that does not exist, or a value that does not fit
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **stable_baselines3.SAC.policy_aliases,
        "SpikingPolicy": SpikingPolicy,
        "AnnPolicy": AnnPolicy,
    }

    baked_in: ClassVar[tuple[str, ...]] = ("gamma", "tau", "target_entropy")

    def _collect_networks(self) -> None:
        super()._collect_networks()
        self.fixed_critic = Fixed(self.critic)

    def _recorder(self) -> Recorder | None:
        # gSDE's noise is replaced from outside while acting.
        return None if self.use_sde else super()._recorder()

    def predict(self, *args: Any, **kwargs: Any) -> tuple[np.ndarray, Any]:
        """As Stable-Baselines3's."""
        with nullcontext() if self.captured is None else _unchecked_distributions():
            return super().predict(*args, **kwargs)

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Gradient steps on the replay buffer: temperature, critics, actor, targets.

        A network's pass in its own loss is its only one in training mode with gradients: there its
        normalisation uses batch statistics and moves the moving ones.
        """
        self.policy.set_training_mode(True)
        self._update_learning_rate(self._optimizers())
        with _unchecked_distributions():
            for step in range(gradient_steps):
                whole = step % self.target_update_interval == 0
                self._run(self._whole_step if whole else self._gradient_step, batch_size)
        self._n_updates += gradient_steps
        self.latest_losses.settle()

    def _whole_step(self, batch: ReplayBufferSamples) -> None:
        self._gradient_step(batch)
        self._update_targets()

    def _gradient_step(self, batch: ReplayBufferSamples) -> None:
        if self.use_sde:
            self.actor.reset_noise()
        actions, log_prob = self.actor.action_log_prob(batch.observations)
        log_prob = log_prob.reshape(-1, 1)
        temperature = self._update_temperature(log_prob)
        self._update_critic(batch, self._target_values(batch, temperature))
        self._update_actor(batch, actions, log_prob, temperature)

    def _update_temperature(self, log_prob: Tensor) -> Tensor:
        """The temperature alpha before its own update, ``[1]``: the loss is
        ``-log alpha (log pi + target entropy)``."""
        if self.ent_coef_optimizer is None or self.log_ent_coef is None:
            self._keep_loss("train/ent_coef", self.ent_coef_tensor)
            return self.ent_coef_tensor
        temperature = self.log_ent_coef.detach().exp()
        assert isinstance(self.target_entropy, float)
        loss = -(self.log_ent_coef * (log_prob + self.target_entropy).detach()).mean()
        self._step(self.ent_coef_optimizer, loss)
        self._keep_loss("train/ent_coef_loss", loss)
        self._keep_loss("train/ent_coef", temperature.squeeze())
        return temperature

    @torch.no_grad()
    def _target_values(self, batch: ReplayBufferSamples, temperature: Tensor) -> Tensor:
        """``r + gamma (1 - done) (min_i Q'_i(s', a') - alpha log pi(a'|s'))``, ``[B, 1]``."""
        discounts = self.gamma if batch.discounts is None else batch.discounts
        next_actions, next_log_prob = self.actor.action_log_prob(batch.next_observations)
        next_values = torch.cat(self.critic_target(batch.next_observations, next_actions), dim=1)
        lowest = next_values.min(dim=1, keepdim=True).values
        soft = lowest - temperature * next_log_prob.reshape(-1, 1)
        return batch.rewards + (1 - batch.dones) * discounts * soft

    def _update_critic(self, batch: ReplayBufferSamples, targets: Tensor) -> None:
        values = self.critic(batch.observations, batch.actions)
        loss = 0.5 * squared_errors(values, targets)
        self._step(self.critic.optimizer, loss)
        self._keep_loss("train/critic_loss", loss)

    def _update_actor(
        self, batch: ReplayBufferSamples, actions: Tensor, log_prob: Tensor, temperature: Tensor
    ) -> None:
        with self.fixed_critic:
            values = torch.cat(self.critic(batch.observations, actions), dim=1)
        loss = (temperature * log_prob - values.min(dim=1, keepdim=True).values).mean()
        self._step(self.actor.optimizer, loss)
        self._keep_loss("train/actor_loss", loss)

    def _make_followers(self) -> Followers:
        return Followers(
            [(self.critic, self.critic_target)], self.batch_norm_stats, self.batch_norm_stats_target
        )


@contextmanager
def _unchecked_distributions() -> Iterator[None]:
    """Inside, torch's distributions do not check their parameters: that waits for the device.

    What is not finite shows in the losses.
    """
    checked = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(checked)
