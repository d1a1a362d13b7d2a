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

from snnrl.agents.actor_critic import ActorCriticAgent, Values
from snnrl.agents.policies.actors import SquashedSpikingActor
from snnrl.agents.policies.modes import QuickModes
from snnrl.agents.policies.off_policy import SpikingActorCritic
from snnrl.agents.policies.ordinary import NormalisedSquashedActor, OrdinaryActorCritic
from snnrl.agents.policies.proxy import SquashedProxy
from snnrl.agents.updates.cuda_graphs import Recorder
from snnrl.agents.updates.targets import TargetNetworks


class AnnPolicy(OrdinaryActorCritic, QuickModes, SACPolicy):
    """The baseline: the same agent with ordinary networks, 256-256; see
    :class:`OrdinaryActorCritic` for their normalisation."""

    normalised_actor = NormalisedSquashedActor
    proxy_class = SquashedProxy


class SpikingPolicy(SpikingActorCritic, AnnPolicy):
    """Spiking actor, ordinary or spiking critics; see :class:`SpikingActorCritic`."""

    actor_class = SquashedSpikingActor


class SAC(ActorCriticAgent, stable_baselines3.SAC):
    """Soft actor-critic (Haarnoja et al. 2018); arguments as in Stable-Baselines3, and
    ``joint_pass`` and ``target_networks`` of :class:`ActorCriticAgent`.

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
    baked_in: ClassVar[tuple[str, ...]] = (
        "gamma",
        "tau",
        "target_entropy",
        "joint_pass",
        "target_networks",
    )

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
        self._begin_update()
        self._update_learning_rate(self._optimizers())
        with _unchecked_distributions():
            for step in range(gradient_steps):
                whole = step % self.target_update_interval == 0
                self._run(self._whole_step if whole else self._gradient_step, batch_size)
        if self.proxy is not None:
            # The actor's last pass is one with gradients, and copy.deepcopy of the agent would fail
            # on its tensors. Without a proxy the pass for the target comes last.
            vars(self.actor.action_dist).update(distribution=None, gaussian_actions=None)
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
        self._learn_values(batch, temperature)
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

    def _next_actions(
        self, observations: Tensor, temperature: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return actions and their entropy bonus ``-alpha log pi(a'|s')``."""
        assert temperature is not None
        actor: Any = self.actor if self.proxy is None else self.proxy
        actions, log_prob = actor.action_log_prob(observations)
        return actions, -temperature * log_prob.reshape(-1, 1)

    def _critic_loss(self, values: Values, targets: Tensor) -> Tensor:
        return 0.5 * super()._critic_loss(values, targets)

    def _update_actor(
        self, batch: ReplayBufferSamples, actions: Tensor, log_prob: Tensor, temperature: Tensor
    ) -> None:
        with self.frozen_critic:
            values = torch.cat(self.critic(batch.observations, actions), dim=1)
        loss = (temperature * log_prob - values.min(dim=1, keepdim=True).values).mean()
        self._learn("actor", self.actor.optimizer, loss)

    def _pair_targets(self) -> TargetNetworks:
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
