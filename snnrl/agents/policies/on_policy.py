"""The policy of PPO: an actor and a critic of the state, each spiking or ordinary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    DiagGaussianDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import MlpExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from snnrl.agents.policies.features import ConvExtractor, convolve_images
from snnrl.agents.policies.options import SpikingOptions, hidden_layers
from snnrl.agents.policies.part import SpikingPart
from snnrl.errors import UserError
from snnrl.nn.adaptive import adaptive_modules
from snnrl.nn.convolution import convolved_shapes
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import NormStrategy, make_strategy, norm_layers
from snnrl.nn.registry import split_spec


class OnPolicyNetwork(SpikingPart):
    """A spiking network whose statistics and thresholds stay constant while it learns.

    PPO compares the present probability of an action with its probability when it was taken. Both
    must use the same (moving) statistics, or the ratio is not 1 before the first update. So
    :class:`snnrl.agents.PPO` moves the statistics, and regulated thresholds, only between two
    rollouts. Gradients are nevertheless those of batch statistics (``renormalises``): a shift or
    scaling of a layer's inputs, which the next refresh of the statistics would cancel, is not
    learned.

    :param network: ``[B, features] -> [B, outputs]``
    :param norm: strategy of its normalisation
    :param losses: terms of its loss
    """

    trains_in = "PPO"

    def __init__(
        self, network: SpikingNetwork, norm: NormStrategy, losses: nn.ModuleList | None = None
    ):
        super().__init__()
        self.network = network
        self.norm = norm
        self.losses = nn.ModuleList() if losses is None else losses
        for module in adaptive_modules(network):
            module.frozen = True
        for layer in norm_layers(network):
            layer.renormalises = True

    def forward(self, features: Tensor) -> Tensor:
        """Features ``[B, ...]`` -> means or logits ``[B, A]``, or values ``[B, 1]``."""
        return self._spiking_pass(self.network, features)


class AnnPolicy(ActorCriticPolicy):
    """The baseline: the same agent with ordinary networks, SB3's 64-64 with tanh.

    :param net_arch: hidden neurons, ``[64, 64]`` or ``dict(pi=[...], vf=[...])``
    :param conv: ``dict(channels=..., kernels=..., strides=...)`` of convolutions, for images; actor
        and critic share them unless ``share_features_extractor=False``
    :param kwargs: those of SB3's ``ActorCriticPolicy``
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        conv: dict[str, list[int]] | None = None,
        **kwargs: Any,
    ):
        convolve_images(kwargs, conv)
        super().__init__(observation_space, action_space, lr_schedule, net_arch, **kwargs)


class SpikingPolicy(ActorCriticPolicy):
    """Spiking actor, ordinary or spiking critic.

    The mean of a Gaussian (unbounded; its standard deviation is a separate parameter) or the logits
    of discrete actions are the outputs of the actor's network.

    :param net_arch: hidden neurons, ``[256, 256]`` or ``dict(pi=[...], vf=[...])``
    :param actor: ``spiking`` or ``ann``
    :param critic: ``ann``, ``spiking``, or ``dict(name="spiking", bn=..., time_steps=...,
        regulation=..., losses=...)``: it has its own settings of these (default ``bn="carebn"``),
        and the actor's neuron, surrogate and encoder
    :param neuron: a name (``configs/neuron`` has them), a class, or ``dict(name=...,
        **parameters)`` with either; ``surrogate``, ``encoder``, ``bn``, ``regulation`` and each of
        ``losses`` are given in the same way
    :param surrogate: surrogate gradient of the spike function
    :param encoder: how observations become the network's input
    :param conv: ``dict(channels=..., kernels=..., strides=...)`` of convolutions of images: spiking
        ones in a spiking network, ordinary ones in an ordinary network, never shared
    :param bn: normalisation
    :param regulation: regulation of the firing thresholds; ``None``: they are constant
    :param losses: terms of the loss
    :param time_steps: time steps T of one forward pass
    :param population: output neurons per action dimension or discrete action
    :param readout: ``population``, ``linear``, ``auto`` (population)
    :param kernel: ``naive``, ``compile``, ``native`` (CPU), ``triton`` (CUDA), ``auto``
    :param kwargs: those of SB3's ``ActorCriticPolicy``; ``activation_fn`` and ``ortho_init`` are
        those of ordinary networks
    :raises UserError: unknown name or parameter, observations that are not one array, actions that
        are neither ``Box`` nor ``Discrete``, or ``use_sde``
    """

    net_arch: dict[str, list[int]]

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        **kwargs: Any,
    ):
        if kwargs.get("use_sde"):
            raise UserError("use_sde=True: a spiking policy has no gSDE; expected False")
        if not isinstance(action_space, spaces.Box | spaces.Discrete):
            raise UserError(
                f"SpikingPolicy: takes actions that are Box or Discrete, not "
                f"{type(action_space).__name__}"
            )
        self.options = SpikingOptions.take(kwargs, observation_space, ActorCriticPolicy)
        _check_schedule("bn", self.options.given["bn"], self.options.norm)
        critic = split_spec(self.options.given["critic"], "critic")[1].get("bn", "carebn")
        _check_schedule("critic bn", critic, self.options.critic_norm)
        hidden = hidden_layers([256, 256] if net_arch is None else net_arch, "vf")
        super().__init__(observation_space, action_space, lr_schedule, hidden, **kwargs)

    def _build_mlp_extractor(self) -> None:
        # Hidden layers of ordinary networks alone: a spiking network stands in the place of the
        # last layer and has its own.
        hidden = {
            "pi": [] if self.options.spiking_actor else self.net_arch["pi"],
            "vf": [] if self.options.spiking_critic else self.net_arch["vf"],
        }
        conv, features = self.options.given["conv"], self.features_dim
        if conv is not None:
            features = math.prod(convolved_shapes(self.observation_space.shape or (), **conv)[-1])
        extractor = MlpExtractor(features, hidden, self.activation_fn, self.device)
        if conv is not None and not self.options.spiking_actor:
            extractor.policy_net = self._after_convolutions(extractor.policy_net)
        if conv is not None and not self.options.spiking_critic:
            extractor.value_net = self._after_convolutions(extractor.value_net)
        self.mlp_extractor = extractor

    def _after_convolutions(self, dense: nn.Sequential) -> nn.Sequential:
        assert isinstance(self.observation_space, spaces.Box)
        return nn.Sequential(
            ConvExtractor(self.observation_space, **self.options.given["conv"]), *dense
        )

    def _build(self, lr_schedule: Schedule) -> None:
        # After SB3's orthogonal initialisation, which is not for spiking networks.
        super()._build(lr_schedule)
        options = self.options
        if options.spiking_actor:
            assert isinstance(self.action_dist, DiagGaussianDistribution | CategoricalDistribution)
            outputs = self.action_dist.action_dim
            actor = options.make_actor(outputs, self.net_arch["pi"], self.features_dim)
            self.action_net = OnPolicyNetwork(actor, options.norm, options.make_losses())
        if options.spiking_critic:
            critic = options.make_critic(self.net_arch["vf"], self.features_dim)
            self.value_net = OnPolicyNetwork(
                critic, options.critic_norm, options.make_critic_losses()
            )  # type: ignore[assignment]
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), **self.options.given}


def _check_schedule(kind: str, spec: str | Mapping[str, Any], norm: NormStrategy) -> None:
    usual = make_strategy(split_spec(spec, "norm")[0]).recalibrate_every
    if norm.recalibrate_every not in (None, usual):
        raise UserError(
            f"{kind} parameter recalibrate_every={norm.recalibrate_every}: PPO refreshes "
            f"statistics once an iteration; expected {usual}"
        )
    if kind == "critic bn" and norm.refresh_kl is not None:
        raise UserError(
            f"{kind} parameter refresh_kl={norm.refresh_kl}: bounds how far a policy moves, and a "
            "critic chooses no actions; expected None"
        )
