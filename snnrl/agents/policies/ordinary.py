"""Ordinary networks with normalisation, in agents that learn from replay.

They are Stable-Baselines3's, with the same weights, and a normalisation between each hidden linear
map and its activation.
"""

from __future__ import annotations

from typing import Any, ClassVar

from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.dqn.policies import QNetwork
from stable_baselines3.sac.policies import Actor as SquashedActor
from stable_baselines3.td3.policies import Actor
from torch import nn

from snnrl.agents.policies.critics import LateActionCritic
from snnrl.agents.policies.features import ConvExtractor
from snnrl.agents.policies.options import check_keywords, critic_strategy
from snnrl.agents.policies.part import AgentModel
from snnrl.agents.policies.proxy import WithProxy
from snnrl.nn.norm import make_strategy
from snnrl.nn.ordinary import normalised, ordinary_strategy
from snnrl.nn.registry import Spec


class NormalisedPart(AgentModel):
    """A mixin for Stable-Baselines3's networks: list it before them.

    :param net_arch: neurons of each hidden layer
    :param bn: normalisation: a name, a class, or ``dict(name=..., **parameters)``
    :param kwargs: others of the network
    """

    net_arch: list[int]

    def __init__(self, *, net_arch: list[int], bn: Spec, **kwargs: Any):
        super().__init__(net_arch=net_arch, **kwargs)  # type: ignore[call-arg]
        # Stable-Baselines3's critics do not keep theirs.
        self.net_arch, self.bn = net_arch, bn
        self.norm, self.losses = make_strategy(bn), nn.ModuleList()
        if isinstance(self.features_extractor, ConvExtractor):
            self.features_extractor.normalise(self.norm)
        self._normalise()

    def _normalise(self) -> None:
        """Put normalisations into the network."""
        raise NotImplementedError

    def extract_features(self, *args: Any, **kwargs: Any) -> Any:
        """Extract features as Stable-Baselines3 does: the start of every pass.

        :raises UserError: in training mode, without an agent
        """
        self._check_agent()
        return super().extract_features(*args, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "bn": self.bn}


class NormalisedActor(NormalisedPart, Actor):
    """The ordinary actor of TD3 and DDPG, normalised."""

    trains_in = "TD3 or DDPG"

    def _normalise(self) -> None:
        self.mu = normalised(self.mu, self.norm, len(self.net_arch))  # type: ignore[assignment]


class NormalisedSquashedActor(NormalisedPart, SquashedActor):
    """The ordinary actor of SAC, normalised."""

    trains_in = "SAC"

    def _normalise(self) -> None:
        self.latent_pi = normalised(self.latent_pi, self.norm)  # type: ignore[assignment]


class NormalisedCritic(NormalisedPart, ContinuousCritic):
    """Ordinary critics, normalised: observation and action enter together."""

    trains_in = "TD3 or SAC"

    def __init__(self, *, activation_fn: type[nn.Module] = nn.ReLU, **kwargs: Any):
        super().__init__(activation_fn=activation_fn, **kwargs)
        self.activation_fn = activation_fn

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "net_arch": self.net_arch,
            "activation_fn": self.activation_fn,
            "features_extractor": self.features_extractor,
            "features_dim": self.features_extractor.features_dim,
            "n_critics": self.n_critics,
            "share_features_extractor": self.share_features_extractor,
        }

    def _normalise(self) -> None:
        for i, network in enumerate(self.q_networks):
            assert isinstance(network, nn.Sequential)
            self.q_networks[i] = normalised(network, self.norm, len(self.net_arch))
            self.add_module(f"qf{i}", self.q_networks[i])


class NormalisedLateCritic(NormalisedPart, LateActionCritic):
    """The ordinary critic of DDPG, normalised: the action enters at the second layer."""

    trains_in = "DDPG"

    def _normalise(self) -> None:
        rest = len(self.net_arch) - 1
        for i in range(self.n_critics):
            first, second = self.observation_layers[i], self.value_layers[i]
            assert isinstance(first, nn.Sequential) and isinstance(second, nn.Sequential)
            self.observation_layers[i] = normalised(first, self.norm)
            if rest:
                self.value_layers[i] = normalised(second, self.norm, rest, first=1)


class NormalisedQNetwork(NormalisedPart, QNetwork):
    """The ordinary Q-network of DQN, normalised, its convolutions (``conv``) included."""

    trains_in = "DQN"

    def _normalise(self) -> None:
        self.q_net = normalised(self.q_net, self.norm, len(self.net_arch))  # type: ignore[assignment]


class OrdinaryActorCritic(WithProxy):
    """A mixin for the policies of TD3, DDPG and SAC: ordinary networks, normalised if asked.

    List it before them.

    :param bn: normalisation of an ordinary actor: a name, a class, or ``dict(name=...,
        **parameters)``
    :param critic: ``ann``, or ``dict(name="ann", bn=...)`` with the normalisation of an ordinary
        critic
    :param target: see :class:`WithProxy`
    :raises UserError: an unknown keyword, or a normalisation that an ordinary network cannot have
    """

    normalised_actor: ClassVar[type[NormalisedPart]]
    normalised_critic: ClassVar[type[NormalisedPart]] = NormalisedCritic

    def __init__(self, *args: Any, bn: Spec = "none", critic: Spec = "ann", **kwargs: Any):
        check_keywords(type(self), kwargs)
        self.actor_norm, self.critic_norm = ordinary_strategy(bn), critic_strategy(critic)
        self.ordinary: dict[str, Any] = {"bn": bn, "critic": critic}
        super().__init__(*args, **kwargs)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Return a new actor, online or target."""
        if self.actor_norm is None:
            return super().make_actor(features_extractor)  # type: ignore[misc]
        arguments = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return self.normalised_actor(**arguments, bn=self.ordinary["bn"]).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Return a new critic, online or target."""
        if self.critic_norm is None:
            return super().make_critic(features_extractor)  # type: ignore[misc]
        arguments = self._update_features_extractor(self.critic_kwargs, features_extractor)  # type: ignore[arg-type]
        bn = self.ordinary["critic"]["bn"]
        return self.normalised_critic(**arguments, bn=bn).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), **self.ordinary}
