"""DDPG with a spiking actor."""

from __future__ import annotations

from typing import Any, ClassVar

import stable_baselines3
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.td3.policies import TD3Policy

from snnrl.agents import td3
from snnrl.agents.policies.actors import SpikingActor
from snnrl.agents.policies.critics import LateActionCritic
from snnrl.agents.policies.off_policy import SpikingActorCritic
from snnrl.agents.policies.ordinary import NormalisedLateCritic
from snnrl.nn.norm import NormStrategy


class _LateAction(TD3Policy):
    """A mixin for policies: the critic of DDPG, 400-300."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        **kwargs: Any,
    ):
        arch = {"pi": [256, 256], "qf": [400, 300]} if net_arch is None else net_arch
        super().__init__(observation_space, action_space, lr_schedule, arch, **kwargs)

    critic_norm: NormStrategy | None

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Return a new critic, online or target."""
        if self.critic_norm is not None:
            return super().make_critic(features_extractor)
        arguments = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return LateActionCritic(**arguments).to(self.device)


class AnnPolicy(_LateAction, td3.AnnPolicy):
    """Ordinary actor 256-256 and the published critic, 400-300."""

    normalised_critic = NormalisedLateCritic


class SpikingPolicy(SpikingActorCritic, AnnPolicy):
    """Spiking actor and the published critic, 400-300, or a spiking one; arguments as TD3's."""

    actor_class = SpikingActor


class DDPG(td3.TD3):
    """Deep deterministic policy gradient (Lillicrap et al. 2016): TD3 with one critic, no delay
    and no noise on the target's action.

    :param learning_rate: of the actor, and of the critic unless it has its own
    :param critic_learning_rate: of the critic; a number or a schedule
    :param critic_weight_decay: L2 penalty of the critic's optimiser
    :param kwargs: as in Stable-Baselines3's ``DDPG``
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **stable_baselines3.DDPG.policy_aliases,
        "SpikingPolicy": SpikingPolicy,
        "AnnPolicy": AnnPolicy,
    }
    critics = ("ann_late", "spiking")

    def __init__(
        self,
        policy: str | type[TD3Policy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        *args: Any,
        critic_learning_rate: float | Schedule | None = None,
        critic_weight_decay: float = 0.0,
        policy_kwargs: dict[str, Any] | None = None,
        _init_setup_model: bool = True,
        **kwargs: Any,
    ):
        self.critic_weight_decay = critic_weight_decay
        super().__init__(
            policy,
            env,
            learning_rate,
            *args,
            critic_learning_rate=critic_learning_rate,
            policy_delay=1,
            # A standard deviation of 0 would skip the random draws that SB3's DDPG makes.
            target_policy_noise=0.1,
            target_noise_clip=0.0,
            policy_kwargs={"n_critics": 1, **(policy_kwargs or {})},
            _init_setup_model=_init_setup_model,
            **kwargs,
        )

    def _setup_model(self) -> None:
        super()._setup_model()
        for group in self.critic.optimizer.param_groups:
            group["weight_decay"] = self.critic_weight_decay
