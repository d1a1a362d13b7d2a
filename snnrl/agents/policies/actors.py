"""The deterministic spiking actor of TD3 and DDPG."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn

from snnrl.agents.policies.options import SpikingOptions
from snnrl.agents.policies.part import SpikingModel


class SpikingActor(SpikingModel, BasePolicy):
    """Spiking network, tanh: actions in [-1, 1], which SB3 scales.

    :param net_arch: neurons of each hidden layer
    :param features_extractor: flattens the observation
    :param features_dim: its number of features
    :param options: what the user asked of spiking networks
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
        self.norm = options.norm
        self.network = options.make_actor(get_action_dim(action_space), net_arch, features_dim)

    def forward(self, obs: Tensor) -> Tensor:
        """Observations ``[B, ...]`` -> actions ``[B, A]`` in [-1, 1]."""
        features = self.extract_features(obs, self.features_extractor)
        return torch.tanh(self._spiking_pass(self.network, features))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        actions: Tensor = self(observation)
        return actions
