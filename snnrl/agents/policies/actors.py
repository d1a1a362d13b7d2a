"""Spiking actors of agents that learn from replay."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN
from torch import Tensor, nn

from snnrl.agents.policies.options import SpikingOptions
from snnrl.agents.policies.part import SpikingModel
from snnrl.errors import UserError
from snnrl.nn.adaptive import frozen


class SpikingActor(SpikingModel, BasePolicy):
    """The deterministic actor of TD3 and DDPG. Its actions are in [-1, 1], by tanh; SB3 rescales
    them.

    :param net_arch: neurons of each hidden layer
    :param features_extractor: flattens the observation
    :param features_dim: its number of features
    :param options: the spiking part of ``policy_kwargs``
    """

    trains_in = "TD3 or DDPG"

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
    ):
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
            squash_output=True,
        )
        self.net_arch, self.options = net_arch, options
        self.norm, self.losses = options.norm, options.make_losses()
        self.network = options.make_actor(get_action_dim(action_space), net_arch, features_dim)

    def forward(self, obs: Tensor) -> Tensor:
        """Observations ``[B, ...]`` -> actions ``[B, A]`` in [-1, 1]."""
        features = self.extract_features(obs, self.features_extractor)
        return torch.tanh(self._spiking_pass(self.network, features))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        actions: Tensor = self(observation)
        return actions


class SquashedSpikingActor(SpikingModel, BasePolicy):
    """The actor of SAC: a Gaussian squashed by tanh, whose mean and log of the standard deviation
    come from one spiking network.

    :param net_arch: neurons of each hidden layer
    :param features_extractor: flattens the observation
    :param features_dim: its number of features
    :param options: the spiking part of ``policy_kwargs``
    :param kwargs: options of gSDE, which spiking actors do not support
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
        self.norm, self.losses = options.norm, options.make_losses()
        self.action_dist = SquashedDiagGaussianDistribution(actions)
        self.network = options.make_actor(2 * actions, net_arch, features_dim)

    def forward(self, obs: PyTorchObs, deterministic: bool = True) -> Tensor:
        """Observations ``[B, ...]`` -> actions ``[B, A]`` in [-1, 1], the mean's or sampled.

        Unlike in SB3, the default draws nothing. So a pass that only re-calibrates or measures does
        not change the agent's later random draws.
        """
        mean, log_std, _ = self.get_action_dist_params(obs)
        return self.action_dist.actions_from_params(mean, log_std, deterministic)

    def action_log_prob(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Sampled actions ``[B, A]`` and their log-probabilities ``[B]``.

        Without gradients, as for the next action in a critic's target, the pass uses the moving
        statistics and does not change them, in either mode.
        """
        learns = torch.is_grad_enabled()
        with nullcontext() if learns else frozen(self):
            mean, log_std, _ = self.get_action_dist_params(obs)
        return self.action_dist.log_prob_from_params(mean, log_std)

    def get_action_dist_params(self, obs: PyTorchObs) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return mean and log of the standard deviation, ``[B, A]`` each, before the tanh, and an
        empty mapping, as in SB3."""
        assert self.features_extractor is not None
        features = self.extract_features(obs, self.features_extractor)
        values = self._spiking_pass(self.network, features)
        mean, log_std = values.chunk(2, dim=1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX), {}

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        actions: Tensor = self(observation, deterministic)
        return actions
