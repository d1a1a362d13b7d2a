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
from snnrl.agents.policies.options import (
    SpikingOptions,
    UnflattenedExtractor,
    check_keywords,
    critic_strategy,
    hidden_layers,
)
from snnrl.agents.policies.part import AgentPart
from snnrl.errors import UserError
from snnrl.nn.adaptive import adaptive_modules
from snnrl.nn.convolution import conv_lists, convolved_shapes
from snnrl.nn.norm import NormStrategy, make_strategy, norm_layers
from snnrl.nn.norm.rules import ONLY_WITH_RULE
from snnrl.nn.ordinary import normalised, ordinary_strategy
from snnrl.nn.registry import Spec, split_spec


class OnPolicyNetwork(AgentPart):
    """A network whose statistics and thresholds stay constant while it learns.

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

    def __init__(self, network: nn.Module, norm: NormStrategy, losses: nn.ModuleList | None = None):
        super().__init__()
        self.network = network
        self.norm = norm
        self.losses = nn.ModuleList() if losses is None else losses
        for module in adaptive_modules(network):
            module.frozen = True
        for layer in norm_layers(network):
            layer.renormalises = True

    def forward(self, features: Tensor) -> Tensor:
        """Features ``[B, ...]`` -> means or logits ``[B, A]``, values ``[B, 1]``, or outputs of the
        last hidden layer, ``[B, N]``."""
        return self._spiking_pass(self.network, features)


class NormalisablePolicy(ActorCriticPolicy):
    """A policy whose ordinary networks can have normalisations and convolutions of their own.

    Without both it is Stable-Baselines3's.
    """

    actor_norm: NormStrategy | None
    """Normalisation of an ordinary actor; ``None``: no normalisation, or no ordinary actor."""

    critic_norm: NormStrategy | None
    """Normalisation of an ordinary critic; ``None`` as for the actor."""

    own_conv: Mapping[str, Any] | None
    """Convolutions that each ordinary network has for itself."""

    def _hidden(self) -> Any:
        """Return the hidden layers of ordinary networks."""
        return self.net_arch

    def _build_mlp_extractor(self) -> None:
        features, conv = self.features_dim, self.own_conv
        if conv is not None:
            features = math.prod(convolved_shapes(self.observation_space.shape or (), **conv)[-1])
        extractor = MlpExtractor(features, self._hidden(), self.activation_fn, self.device)
        if conv is not None:
            extractor.policy_net = self._after_convolutions("pi", extractor.policy_net)
            extractor.value_net = self._after_convolutions("vf", extractor.value_net)
        self.mlp_extractor = extractor

    def _after_convolutions(self, name: str, dense: nn.Sequential) -> nn.Sequential:
        """Return the hidden layers of ``pi`` or ``vf`` behind convolutions."""
        assert isinstance(self.observation_space, spaces.Box) and self.own_conv is not None
        return nn.Sequential(ConvExtractor(self.observation_space, **self.own_conv), *dense)

    def _build(self, lr_schedule: Schedule) -> None:
        # After SB3's initialisation, which would not find the maps' activations behind them.
        super()._build(lr_schedule)
        hidden: Any = self.mlp_extractor
        if self.actor_norm is not None:
            hidden.policy_net = _normalised(hidden.policy_net, self.actor_norm)
        if self.critic_norm is not None:
            hidden.value_net = _normalised(hidden.value_net, self.critic_norm)
        if self.actor_norm is not None or self.critic_norm is not None:
            self._make_optimizer(lr_schedule)

    def _make_optimizer(self, lr_schedule: Schedule) -> None:
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )


def _normalised(layers: nn.Sequential, strategy: NormStrategy) -> OnPolicyNetwork:
    first = layers[0] if len(layers) else None
    if not isinstance(first, ConvExtractor):
        return OnPolicyNetwork(normalised(layers, strategy), strategy)
    first.normalise(strategy)
    dense = nn.Sequential(*list(layers)[1:])
    rest = [normalised(dense, strategy)] if len(dense) else []
    return OnPolicyNetwork(nn.Sequential(first, *rest), strategy)


class AnnPolicy(NormalisablePolicy):
    """The baseline: the same agent with ordinary networks, SB3's 64-64 with tanh.

    :param net_arch: hidden neurons, ``[64, 64]`` or ``dict(pi=[...], vf=[...])``
    :param conv: ``dict(channels=..., kernels=..., strides=...)`` of convolutions, for images; actor
        and critic share them unless ``share_features_extractor=False`` or one has a normalisation
    :param bn: normalisation of the actor: a name, a class, or ``dict(name=..., **parameters)``
    :param critic: ``ann``, or ``dict(name="ann", bn=...)`` with the critic's normalisation
    :param kwargs: those of SB3's ``ActorCriticPolicy``
    :raises UserError: an unknown keyword, or a normalisation that an ordinary network cannot have
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        conv: dict[str, list[int]] | None = None,
        bn: Spec = "none",
        critic: Spec = "ann",
        **kwargs: Any,
    ):
        check_keywords(type(self), kwargs)
        self.actor_norm, self.critic_norm = ordinary_strategy(bn), critic_strategy(critic)
        self.own_conv = None
        self.given = {"bn": bn, "critic": critic}
        if self.actor_norm is None and self.critic_norm is None:
            convolve_images(kwargs, conv)
        else:
            check_schedules(self.given)
            if conv is not None:
                self.given["conv"] = conv
                self.own_conv = conv_lists(conv)
                kwargs["features_extractor_class"] = UnflattenedExtractor
        super().__init__(observation_space, action_space, lr_schedule, net_arch, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), **self.given}


class SpikingPolicy(NormalisablePolicy):
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
    :param bn: normalisation of the actor (default of an ordinary one: ``none``)
    :param regulation: regulation of the firing thresholds; ``None``: they are constant
    :param losses: terms of the loss
    :param time_steps: time steps T of one forward pass
    :param population: output neurons per action dimension or discrete action
    :param readout: ``population``, ``linear``, ``membrane``, ``auto`` (population), or
        ``dict(name="membrane", value=..., decay=...)``
    :param lateral: connections within the output populations (ILC-SAN): ``none``, ``intra`` and its
        variants, the keys of :data:`snnrl.nn.lateral.LATERALS`
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
        self.options = SpikingOptions.take(kwargs, observation_space, type(self))
        check_schedules(self.options.given)
        ordinary = self.options.ordinary()
        self.actor_norm = ordinary_strategy(ordinary["bn"])
        self.critic_norm = critic_strategy(ordinary["critic"])
        only_spiking = self.options.spiking_actor and self.options.spiking_critic
        # Ordinary convolutions know no time axis.
        framed = self.options.takes_time and only_spiking
        self.own_conv = None if framed else self.options.given["conv"]
        hidden = hidden_layers([256, 256] if net_arch is None else net_arch, "vf")
        super().__init__(observation_space, action_space, lr_schedule, hidden, **kwargs)

    def _hidden(self) -> dict[str, list[int]]:
        # A spiking network stands in the place of the last layer and has hidden layers of its own.
        return {
            "pi": [] if self.options.spiking_actor else self.net_arch["pi"],
            "vf": [] if self.options.spiking_critic else self.net_arch["vf"],
        }

    def _after_convolutions(self, name: str, dense: nn.Sequential) -> nn.Sequential:
        options = self.options
        spikes = options.spiking_actor if name == "pi" else options.spiking_critic
        return dense if spikes else super()._after_convolutions(name, dense)

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
        self._make_optimizer(lr_schedule)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), **self.options.given}


def check_schedules(given: Mapping[str, Any]) -> None:
    """Check that the normalisations of actor and critic are re-calibrated when PPO does.

    :param given: ``bn`` and ``critic`` of ``policy_kwargs``
    :raises UserError: another number of steps
    """
    name, critic = split_spec(given["critic"], "critic")
    usual = "carebn" if name == "spiking" else "none"
    for kind, spec in (("bn", given["bn"]), ("critic bn", critic.get("bn", usual))):
        _check_schedule(kind, spec, make_strategy(spec))


def _check_schedule(kind: str, spec: str | Mapping[str, Any], norm: NormStrategy) -> None:
    plain = make_strategy(split_spec(spec, "norm")[0])
    usual = plain.recalibrate_every
    if norm.recalibrate_every not in (None, "auto", usual):
        raise UserError(
            f"{kind} parameter recalibrate_every={norm.recalibrate_every}: PPO refreshes "
            "statistics once an iteration; expected 'auto', or None to refresh them by the rule"
        )
    for key in ONLY_WITH_RULE if norm.recalibrate_every is not None else ():
        if norm.parameters.get(key) != plain.parameters.get(key):
            raise UserError(
                f"{kind} parameter {key}={norm.parameters[key]}: has no effect with PPO and "
                f"recalibrate_every={norm.recalibrate_every}, which uses no update rule; expected "
                "only with recalibrate_every=None"
            )
    warmup = plain.parameters.get("warmup")
    if norm.parameters.get("warmup") != warmup:
        raise UserError(
            f"{kind} parameter warmup={norm.parameters['warmup']}: has no effect with PPO, where "
            f"no pass moves statistics; expected {warmup}"
        )
    if kind == "critic bn" and norm.refresh_kl is not None:
        raise UserError(
            f"{kind} parameter refresh_kl={norm.refresh_kl}: bounds how far a policy moves, and a "
            "critic chooses no actions; expected None"
        )
