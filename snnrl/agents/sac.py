"""SAC with a spiking actor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.sac.policies import SACPolicy
from torch import Tensor
from torch.distributions import Distribution

from snnrl.agents.off_policy import ReplayAgent, squared_errors
from snnrl.agents.policies.actors import SquashedSpikingActor
from snnrl.agents.policies.modes import QuickModes
from snnrl.agents.policies.off_policy import SpikingActorCritic
from snnrl.agents.policies.ordinary import NormalisedSquashedActor, OrdinaryActorCritic
from snnrl.agents.updates.cuda_graphs import Recorder
from snnrl.agents.updates.frozen import Frozen
from snnrl.agents.updates.targets import TargetNetworks


class AnnPolicy(OrdinaryActorCritic, QuickModes, SACPolicy):
    """The baseline: the same agent with ordinary networks, 256-256; see
    :class:`OrdinaryActorCritic` for their normalisation."""

    normalised_actor = NormalisedSquashedActor


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

    action_spaces = (spaces.Box,)
    critics = ("ann", "spiking")
    critic_key = "qf"
    baked_in: ClassVar[tuple[str, ...]] = ("gamma", "tau", "target_entropy")

    def _collect_networks(self) -> None:
        super()._collect_networks()
        self.frozen_critic = Frozen(self.critic)

    def _recorder(self) -> Recorder | None:
        # gSDE's noise is replaced from outside while acting.
        return None if self.use_sde else super()._recorder()

    def predict(self, *args: Any, **kwargs: Any) -> tuple[np.ndarray, Any]:
        """Return actions, as in Stable-Baselines3; by a CUDA graph if the pass is captured."""
        with nullcontext() if self.captured is None else _unchecked_distributions():
            return super().predict(*args, **kwargs)

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Take gradient steps on the replay buffer: temperature, critics, actor, target networks.

        A network's only pass in training mode with gradients is that in its own loss. There its
        normalisation uses batch statistics and updates the moving ones.
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
        """Take a gradient step on the temperature; return its value before the step, ``[1]``.

        The loss is ``-log alpha (log pi + target entropy)``.
        """
        if self.ent_coef_optimizer is None or self.log_ent_coef is None:
            self._keep_loss("train/ent_coef", self.ent_coef_tensor)
            return self.ent_coef_tensor
        temperature = self.log_ent_coef.detach().exp()
        assert isinstance(self.target_entropy, float)
        loss = -(self.log_ent_coef * (log_prob + self.target_entropy).detach()).mean()
        self._learn("ent_coef", self.ent_coef_optimizer, loss)
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
        self._learn("critic", self.critic.optimizer, loss)

    def _update_actor(
        self, batch: ReplayBufferSamples, actions: Tensor, log_prob: Tensor, temperature: Tensor
    ) -> None:
        with self.frozen_critic:
            values = torch.cat(self.critic(batch.observations, actions), dim=1)
        loss = (temperature * log_prob - values.min(dim=1, keepdim=True).values).mean()
        self._learn("actor", self.actor.optimizer, loss)

    def _make_target_networks(self) -> TargetNetworks:
        return TargetNetworks(
            [(self.critic, self.critic_target)], self.batch_norm_stats, self.batch_norm_stats_target
        )


@contextmanager
def _unchecked_distributions() -> Iterator[None]:
    """Context without the checks of torch's distributions, which wait for the device.

    Non-finite values are found in the losses.
    """
    checked = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(checked)
