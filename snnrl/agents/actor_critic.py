"""Base class of the agents with critics of an action: TD3, DDPG and SAC."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor

from snnrl.agents.off_policy import Minibatch, ReplayAgent, squared_errors
from snnrl.agents.policies.proxy import TARGETS, Proxy
from snnrl.agents.replay.buffer import random_transitions
from snnrl.agents.updates.frozen import Frozen
from snnrl.agents.updates.targets import TargetNetworks
from snnrl.errors import UserError
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.norm import BatchNorm
from snnrl.nn.norm.strategy import Schedule
from snnrl.nn.registry import component, names
from snnrl.seeds import LARGEST

Values = tuple[Tensor, ...]
"""Of each critic, ``[B, 1]``."""


class ActorCriticAgent(ReplayAgent):
    """A mixin for Stable-Baselines3's TD3 and SAC: list it before them.

    With a joint pass the critics value the replayed pair and the next pair in one batch, so that
    both are normalised by statistics of their mixture, which move once, by both. The next values
    are constants of the loss.

    Source: CrossQ (Bhatt et al., ICLR 2024, arXiv 1902.05605), which has no target networks.

    With ``policy_kwargs=dict(target="proxy")`` a proxy (:mod:`snnrl.agents.policies.proxy`) chooses
    the next action. In each gradient step it first imitates the actor on several minibatches, the
    last of which is the step's own.

    :param args: as in Stable-Baselines3
    :param joint_pass: whether the critics value both pairs in one batch; needs a critic that is
        normalised by statistics of the batch, and no target networks
    :param target_networks: whether target networks value the next pair (TD3, DDPG: and choose its
        action); without them the networks that learn do, and ``tau`` has no effect
    :param kwargs: as in Stable-Baselines3
    :raises UserError: a joint pass that does not fit, or a value that is no bool
    """

    targets = TARGETS
    # Without target networks none are saved that have followed.
    kept = ("target_networks",)

    joint_pass: bool
    target_networks: bool
    critic: Any
    critic_target: Any

    def __init__(
        self, *args: Any, joint_pass: bool = False, target_networks: bool = True, **kwargs: Any
    ):
        # Building the networks needs them.
        self.joint_pass, self.target_networks = joint_pass, target_networks
        super().__init__(*args, **kwargs)

    def _setup_model(self) -> None:
        for key in ("joint_pass", "target_networks"):
            if not isinstance(value := getattr(self, key), bool):
                raise UserError(f"{key}={value!r}: expected True or False")
        super()._setup_model()
        if self.joint_pass:
            self._check_joint_pass()
        if self.proxy is not None:
            self._check_proxy()
            self.proxy.has_agent = True

    @property
    def proxy(self) -> Proxy | None:
        """The network that imitates the actor, if there is one."""
        return getattr(self.policy, "proxy", None)

    def _check_proxy(self) -> None:
        if not self.target_networks:
            raise UserError(
                "target=proxy: the proxy is a target network, and target_networks=False has none; "
                "expected target_networks=True, or target=soft"
            )
        actor = self.parts().get("actor")
        if actor is not None and actor.norm.target_stats != Schedule().target_stats:
            raise UserError(
                f"bn.target_stats={actor.norm.target_stats}: has no effect with target=proxy, "
                f"which has no statistics; expected {Schedule().target_stats}"
            )

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        modules, tensors = super()._get_torch_save_params()
        return [*modules, *(["proxy.optimizer"] if self.proxy is not None else [])], tensors

    def _minibatch(self, batch_size: int) -> Minibatch:
        """Return a new minibatch for a gradient step, the last that the proxy has imitated on."""
        batch = super()._minibatch(batch_size)
        if (proxy := self.proxy) is None:
            return batch
        for _ in range(proxy.settings.updates - 1):
            self._take(self._imitate, batch)
            batch = super()._minibatch(batch_size)
        self._take(self._imitate, batch)
        return batch

    def _imitate(self, batch: ReplayBufferSamples) -> None:
        """Take a gradient step of the proxy."""
        assert self.proxy is not None
        error = self.proxy.imitation_error(self.actor, batch.observations)
        self._learn("proxy", self.proxy.optimizer, error)

    def _check_joint_pass(self) -> None:
        if self.target_networks:
            raise UserError(
                "joint_pass=True: the critic itself values the next pair, which "
                "target_networks=True leaves to a target; expected target_networks=False"
            )
        critic = self.parts().get("critic")
        if critic is None or not issubclass(critic.norm.layer, BatchNorm):
            name = "none" if critic is None else critic.norm.name
            fitting = [n for n in names("norm") if _keeps_statistics(n)]
            raise UserError(
                f"joint_pass=True: the critic's bn={name} uses no statistics of the batch; "
                f"expected a critic with one of {', '.join(fitting)}"
            )
        if not isinstance(self.observation_space, spaces.Box):
            raise UserError(
                f"joint_pass=True: takes observations that are one array (Box), not "
                f"{type(self.observation_space).__name__}; expected joint_pass=False"
            )

    def _collect_networks(self) -> None:
        super()._collect_networks()
        self.frozen_critic = Frozen(self.critic)

    def _make_followers(self) -> TargetNetworks:
        return self._pair_targets() if self.target_networks else TargetNetworks((), (), ())

    def _pair_targets(self) -> TargetNetworks:
        """Return the target networks, paired with the networks that they follow."""
        raise NotImplementedError

    def _next_actions(
        self, observations: Tensor, temperature: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return actions ``[B, A]``, and what is added to their values, ``[B, 1]``; ``None``:
        nothing.

        :param observations: the next ones, ``[B, ...]``
        :param temperature: of the entropy, ``[1]``, for an agent that has one
        """
        raise NotImplementedError

    def _critic_loss(self, values: Values, targets: Tensor) -> Tensor:
        return squared_errors(values, targets)

    def _learn_values(self, batch: ReplayBufferSamples, temperature: Tensor | None = None) -> None:
        """Take a gradient step on the critics."""
        if self.joint_pass:
            self._update_critic_jointly(batch, temperature)
        else:
            self._update_critic(batch, self._target_values(batch, temperature))

    @torch.no_grad()
    def _target_values(
        self, batch: ReplayBufferSamples, temperature: Tensor | None = None
    ) -> Tensor:
        """Return the targets of the critics' values, ``[B, 1]``: see :meth:`_targets`."""
        actions, bonus = self._next_actions(batch.next_observations, temperature)
        critic = self.critic_target if self.target_networks else self.critic
        return self._targets(batch, critic(batch.next_observations, actions), bonus)

    def _targets(
        self, batch: ReplayBufferSamples, next_values: Values, bonus: Tensor | None
    ) -> Tensor:
        """Return ``r + gamma (1 - done) (min_i Q_i(s', a') + bonus)``, ``[B, 1]``."""
        discounts = self.gamma if batch.discounts is None else batch.discounts
        lowest = torch.cat(next_values, dim=1).min(dim=1, keepdim=True).values
        value = lowest if bonus is None else lowest + bonus
        return batch.rewards + (1 - batch.dones) * discounts * value

    def _update_critic(self, batch: ReplayBufferSamples, targets: Tensor) -> None:
        values = self.critic(batch.observations, batch.actions)
        self._learn("critic", self.critic.optimizer, self._critic_loss(values, targets))

    def _update_critic_jointly(
        self, batch: ReplayBufferSamples, temperature: Tensor | None
    ) -> None:
        with torch.no_grad():
            next_actions, bonus = self._next_actions(batch.next_observations, temperature)
        observations = torch.cat([batch.observations, batch.next_observations])
        both = self.critic(observations, torch.cat([batch.actions, next_actions]))
        size = len(batch.actions)
        next_values = tuple(value[size:].detach() for value in both)
        targets = self._targets(batch, next_values, bonus)
        loss = self._critic_loss(tuple(value[:size] for value in both), targets)
        self._learn("critic", self.critic.optimizer, loss)

    def sample_inputs(
        self, name: str, n: int, generator: np.random.Generator
    ) -> tuple[Tensor, ...] | None:
        """Return ``n`` inputs of the part from the agent's experience; ``None`` while it has none.

        For the critic of a joint pass they are ``n`` replayed pairs and ``n`` next pairs, whose
        mixture its statistics describe.

        :param generator: source of the random draws; no other is used
        """
        if not self.joint_pass or name != "critic":
            return super().sample_inputs(name, n, generator)
        if self.replay_buffer is None or self.replay_buffer.size() == 0:
            return None
        observations, actions, following = random_transitions(
            self.replay_buffer, n, generator, self._vec_normalize_env
        )
        cuda = self.device.type == "cuda"
        with (
            torch.random.fork_rng([self.device] if cuda else []),
            torch.no_grad(),
            evaluation_mode(self.policy),
        ):
            torch.manual_seed(int(generator.integers(LARGEST)))
            next_actions, _ = self._next_actions(following, torch.zeros(1, device=self.device))
        return torch.cat([observations, following]), torch.cat([actions, next_actions])


def _keeps_statistics(name: str) -> bool:
    maker = component("norm", name).maker
    return isinstance(maker, type) and issubclass(maker, BatchNorm)
