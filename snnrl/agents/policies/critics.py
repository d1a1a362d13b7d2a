"""Critics, which value an observation and an action, and the Q-network of DQN."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel, BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn

from snnrl.agents.policies.common_mode import CommonMode
from snnrl.agents.policies.options import SpikingOptions
from snnrl.agents.policies.part import SpikingModel
from snnrl.errors import UserError
from snnrl.nn.encoders.base import scaled
from snnrl.nn.networks import SpikingNetwork


class ActionCritic(BaseModel):
    """Q(s, a) of one or more critics, called as Stable-Baselines3's ``ContinuousCritic`` is.

    :param features_extractor: flattens the observation
    :param share_features_extractor: whether the actor uses the same extractor
    """

    n_critics: int

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        features_extractor: BaseFeaturesExtractor,
        normalize_images: bool,
        share_features_extractor: bool,
    ):
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
        )
        self.share_features_extractor = share_features_extractor

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "n_critics": self.n_critics,
            "share_features_extractor": self.share_features_extractor,
        }

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """Values of all critics, each ``[B, 1]``."""
        # A shared extractor learns from the actor's loss alone, as in SB3's critic.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.share_features_extractor):
            features = self._features(obs)
        return tuple(self._value(features, actions, i) for i in range(self.n_critics))

    def q1_forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Value of the first critic, ``[B, 1]``."""
        with torch.no_grad():
            features = self._features(obs)
        return self._value(features, actions, 0)

    def _features(self, obs: Tensor) -> Tensor:
        assert self.features_extractor is not None
        return self.extract_features(obs, self.features_extractor)

    def _value(self, features: Tensor, actions: Tensor, i: int) -> Tensor:
        """Value of critic ``i``, ``[B, 1]``."""
        raise NotImplementedError


class SpikingCritic(SpikingModel, ActionCritic):
    """Spiking networks that read observation and action through one encoder.

    Their values are unbounded, so the readout is linear: a weighted count of the last hidden
    layer's spikes.

    :param net_arch: neurons of each hidden layer
    :param features_dim: number of features that the extractor makes
    :param options: the spiking part of ``policy_kwargs``
    :param n_critics: number of critics
    """

    trains_in = "TD3, DDPG or SAC"

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        net_arch: list[int],
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        options: SpikingOptions,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
        n_critics: int = 2,
        share_features_extractor: bool = False,
    ):
        super().__init__(
            observation_space,
            action_space,
            features_extractor,
            normalize_images,
            share_features_extractor,
        )
        self.n_critics = n_critics
        self.net_arch, self.options = net_arch, options
        self.norm, self.losses = options.critic_norm, options.make_critic_losses()
        # The encoder's input also holds actions, so bytes are scaled before it.
        scales = options.encoder_scales
        self.input_range = options.input_range if scales else None
        actions = get_action_dim(action_space)
        self.networks = nn.ModuleList(
            options.make_critic(net_arch, features_dim, actions) for _ in range(n_critics)
        )

    def _value(self, features: Tensor, actions: Tensor, i: int) -> Tensor:
        if self.input_range is not None:
            features = scaled(features, *self.input_range)
        network = self.networks[i]
        assert isinstance(network, SpikingNetwork)
        return self._spiking_pass(network, torch.cat([features, actions], dim=1))


class LateActionCritic(ActionCritic):
    """The critic of DDPG: Q(s, a) whose action enters at the second layer (Lillicrap et al. 2016).

    :param net_arch: hidden neurons; the first layer sees the observation alone
    :param features_dim: number of features that the extractor makes
    :param n_critics: number of critics
    :raises UserError: no hidden layer
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        net_arch: list[int],
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
        n_critics: int = 1,
        share_features_extractor: bool = False,
    ):
        super().__init__(
            observation_space,
            action_space,
            features_extractor,
            normalize_images,
            share_features_extractor,
        )
        if not net_arch:
            raise UserError(
                "net_arch: the critic of DDPG needs a hidden layer; expected [400, 300]"
            )
        first, *rest = net_arch
        late = first + get_action_dim(action_space)
        self.net_arch, self.activation_fn = net_arch, activation_fn
        self.n_critics = n_critics
        self.observation_layers = nn.ModuleList(
            nn.Sequential(nn.Linear(features_dim, first), activation_fn()) for _ in range(n_critics)
        )
        self.value_layers = nn.ModuleList(
            nn.Sequential(*create_mlp(late, 1, rest, activation_fn)) for _ in range(n_critics)
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        extractor = self.features_extractor
        assert extractor is not None
        return {
            **super()._get_constructor_parameters(),
            "net_arch": self.net_arch,
            "activation_fn": self.activation_fn,
            "features_extractor": extractor,
            "features_dim": extractor.features_dim,
        }

    def _value(self, features: Tensor, actions: Tensor, i: int) -> Tensor:
        hidden = self.observation_layers[i](features)
        value: Tensor = self.value_layers[i](torch.cat([hidden, actions], dim=1))
        return value


class SpikingQNetwork(SpikingModel, BasePolicy):
    """The Q-network of DQN: Q(s, .) of a spiking network.

    With a common mode its values are ``Q - mean_a Q + C(s)``, with C an ordinary network that is a
    part of this one: it learns with it, and target networks have their own. Acting leaves out C and
    the mean, which do not change the best action.

    :param net_arch: neurons of each hidden layer
    :param features_extractor: flattens vectors, leaves images as they are
    :param features_dim: its number of features
    :param options: the spiking part of ``policy_kwargs``
    :param common_mode: whether an ordinary network learns what all values have in common
    """

    action_space: spaces.Discrete
    trains_in = "DQN or Classifier"

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        net_arch: list[int],
        options: SpikingOptions,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
        common_mode: bool = False,
    ):
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
        )
        self.net_arch, self.options = net_arch, options
        self.norm, self.losses = options.norm, options.make_losses()
        self.network = options.make_q_network(int(action_space.n), net_arch, features_dim)
        self.common: CommonMode | None = None
        if common_mode:
            conv = options.given["conv"]
            self.common = CommonMode(options.observation_space, features_dim, net_arch, conv)

    def forward(self, obs: PyTorchObs, with_common: bool = True) -> Tensor:
        """Observations ``[B, ...]`` -> values ``[B, actions]``.

        :param with_common: correct the common mode, if there is one; the best action is the same
        """
        assert self.features_extractor is not None
        features = self.extract_features(obs, self.features_extractor)
        values = self._spiking_pass(self.network, features)
        if self.common is None or not with_common:
            return values
        return self.common.correct(values, features)

    def _predict(self, observation: PyTorchObs, deterministic: bool = True) -> Tensor:
        return self(observation, with_common=False).argmax(dim=1).reshape(-1)  # type: ignore[no-any-return]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "common_mode": self.common is not None,
        }
