"""TD3 with a spiking actor."""

from __future__ import annotations

from typing import Any, ClassVar

import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import ReplayBufferSamples, Schedule
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor

from snnrl.agents.actor_critic import ActorCriticAgent
from snnrl.agents.policies.actors import SpikingActor
from snnrl.agents.policies.modes import QuickModes
from snnrl.agents.policies.off_policy import SpikingActorCritic
from snnrl.agents.policies.ordinary import NormalisedActor, OrdinaryActorCritic
from snnrl.agents.policies.proxy import ProxyActor
from snnrl.agents.updates.optimizers import set_learning_rate
from snnrl.agents.updates.targets import TargetNetworks


class AnnPolicy(OrdinaryActorCritic, QuickModes, TD3Policy):
    """The baseline: the same agent with an ordinary actor, 256-256 like the spiking one; see
    :class:`OrdinaryActorCritic` for its normalisation."""

    normalised_actor = NormalisedActor
    proxy_class = ProxyActor

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


class SpikingPolicy(SpikingActorCritic, AnnPolicy):
    """Spiking actor, ordinary or spiking critics; see :class:`SpikingActorCritic`."""

    actor_class = SpikingActor


class TD3(ActorCriticAgent, stable_baselines3.TD3):
    """Twin delayed DDPG (Fujimoto et al. 2018); arguments as in Stable-Baselines3,
    and ``joint_pass`` and ``target_networks`` of :class:`ActorCriticAgent`.

    ``TD3("SpikingPolicy", env, policy_kwargs=dict(neuron="lif", bn="carebn"))``.

    :param critic_learning_rate: of the critics, a number or a schedule; ``None``: the actor's
    :raises UserError: a policy keyword that does not exist, or a value that does not fit
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **stable_baselines3.TD3.policy_aliases,
        "SpikingPolicy": SpikingPolicy,
        "AnnPolicy": AnnPolicy,
    }

    action_spaces = (spaces.Box,)
    critics = ("ann", "spiking")
    critic_key = "qf"
    critic_learning_rate: float | Schedule | None = None
    baked_in: ClassVar[tuple[str, ...]] = (
        "gamma",
        "tau",
        "target_policy_noise",
        "target_noise_clip",
        "joint_pass",
        "target_networks",
    )

    def __init__(
        self, *args: Any, critic_learning_rate: float | Schedule | None = None, **kwargs: Any
    ):
        self.critic_learning_rate = critic_learning_rate
        super().__init__(*args, **kwargs)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Take gradient steps on the replay buffer: critics at each step, actor and target networks
        every ``policy_delay`` steps.

        A network's only pass in training mode is that in its own loss. There its normalisation uses
        batch statistics and updates the moving ones.
        """
        self._begin_update()
        self._set_learning_rates()
        for _ in range(gradient_steps):
            self._n_updates += 1
            whole = self._n_updates % self.policy_delay == 0
            self._run(self._whole_step if whole else self._critic_step, batch_size)
        self.latest_losses.settle()

    def _critic_step(self, batch: ReplayBufferSamples) -> None:
        self._learn_values(batch)

    def _whole_step(self, batch: ReplayBufferSamples) -> None:
        self._critic_step(batch)
        self._update_actor(batch)
        self._update_targets()

    def _next_actions(
        self, observations: Tensor, temperature: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return ``pi'(s') + clipped noise``, ``[B, A]``, and ``None``."""
        actor = self.actor_target if self.target_networks else self.actor
        actions = actor(observations)
        noise = torch.empty_like(actions).normal_(0, self.target_policy_noise)
        noise = noise.clamp(-self.target_noise_clip, self.target_noise_clip)
        return (actions + noise).clamp(-1, 1), None

    def _update_actor(self, batch: ReplayBufferSamples) -> None:
        actions = self.actor(batch.observations)
        with self.frozen_critic:
            loss = -self.critic.q1_forward(batch.observations, actions).mean()
        self._learn("actor", self.actor.optimizer, loss)

    def _pair_targets(self) -> TargetNetworks:
        if self.proxy is not None:
            return TargetNetworks(
                [(self.critic, self.critic_target)],
                self.critic_batch_norm_stats,
                self.critic_batch_norm_stats_target,
            )
        return TargetNetworks(
            [(self.critic, self.critic_target), (self.actor, self.actor_target)],
            [*self.critic_batch_norm_stats, *self.actor_batch_norm_stats],
            [*self.critic_batch_norm_stats_target, *self.actor_batch_norm_stats_target],
        )

    def _critic_schedule(self) -> Schedule:
        if self.critic_learning_rate is None:
            return self.lr_schedule
        return FloatSchedule(self.critic_learning_rate)

    def _set_learning_rates(self) -> None:
        progress = self._current_progress_remaining
        set_learning_rate(self.actor.optimizer, self.lr_schedule(progress))
        set_learning_rate(self.critic.optimizer, self._critic_schedule()(progress))
