"""Policies with spiking networks for agents that learn continuous actions from replay."""

from __future__ import annotations

from typing import Any, ClassVar

from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule

from snnrl.agents.policies.critics import SpikingCritic
from snnrl.agents.policies.options import SpikingOptions, hidden_layers
from snnrl.errors import UserError
from snnrl.nn.registry import Spec


class SpikingActorCritic(BasePolicy):
    """A mixin for the ordinary policies of TD3, DDPG and SAC: spiking actor, ordinary or spiking
    critics.

    List it before them.

    :param net_arch: hidden neurons, ``[256, 256]`` or ``dict(pi=[...], qf=[...])``
    :param actor: ``spiking`` or ``ann``
    :param target: ``soft``, ``proxy`` or ``dict(name="proxy", ...)``: see
        :class:`snnrl.agents.policies.proxy.WithProxy`
    :param critic: ``ann``, ``spiking``, ``dict(name="ann", bn=...)`` (default ``bn="none"``), or
        ``dict(name="spiking", bn=..., time_steps=..., regulation=..., losses=...)``: it has its own
        settings of these (default ``bn="carebn"``), and the actor's neuron, surrogate and encoder
    :param neuron: a name (``configs/neuron`` has them), a class, or ``dict(name=...,
        **parameters)`` with either; ``surrogate``, ``encoder``, ``bn``, ``regulation`` and each of
        ``losses`` are given in the same way
    :param surrogate: surrogate gradient of the spike function
    :param encoder: how observations become the network's input
    :param bn: normalisation of the actor (default of an ordinary one: ``none``)
    :param regulation: regulation of the firing thresholds; ``None``: they are constant
    :param losses: terms of the loss
    :param time_steps: time steps T of one forward pass
    :param population: output neurons per action dimension
    :param readout: ``population``, ``linear``, ``membrane``, ``auto`` (population), or
        ``dict(name="membrane", value=..., decay=...)``
    :param lateral: connections within the output populations (ILC-SAN): ``none``, ``intra`` and its
        variants, the keys of :data:`snnrl.nn.lateral.LATERALS`
    :param kernel: ``naive``, ``compile``, ``native`` (CPU), ``triton`` (CUDA), ``auto``
    :param kwargs: those of SB3's policy; ``activation_fn`` is that of ordinary networks
    :raises UserError: unknown name or parameter, or observations that are not one vector
    """

    actor_class: ClassVar[type[BasePolicy]]
    """The spiking actor."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        target: Spec = "soft",
        **kwargs: Any,
    ):
        self.options = SpikingOptions.take(kwargs, observation_space, type(self), without=["conv"])
        if len(observation_space.shape or ()) == 3 or self.options.takes_time:
            raise UserError(
                f"SpikingPolicy: images {observation_space.shape} are for DQN and PPO; "
                "expected an environment that observes a vector"
            )
        hidden = None if net_arch is None else hidden_layers(net_arch, "qf")
        ordinary = self.options.ordinary()
        given = {**ordinary, "target": target, **kwargs}
        super().__init__(observation_space, action_space, lr_schedule, hidden, **given)

    def _neuron(self) -> Spec | None:
        return self.options.given["neuron"] if self.options.spiking_actor else None

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Return a new actor, online or target."""
        if not self.options.spiking_actor:
            return super().make_actor(features_extractor)  # type: ignore[misc]
        arguments = self._update_features_extractor(self.actor_kwargs, features_extractor)  # type: ignore[arg-type]
        return self.actor_class(**arguments, options=self.options).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Return a new critic, online or target."""
        if not self.options.spiking_critic:
            return super().make_critic(features_extractor)  # type: ignore[misc]
        arguments = self._update_features_extractor(self.critic_kwargs, features_extractor)  # type: ignore[arg-type]
        return SpikingCritic(**arguments, options=self.options).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        given = {key: value for key, value in self.options.given.items() if key != "conv"}
        return {**super()._get_constructor_parameters(), **given}
