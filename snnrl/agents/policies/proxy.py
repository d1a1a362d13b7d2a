"""Proxies of an actor: ordinary networks that imitate it and stand in for its target network.

Source: Proxy Target (Xu et al., NeurIPS 2025, arXiv 2505.24161). The actions of a spiking target
network jump where its weights move softly; those of an ordinary network do not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.sac.policies import Actor as SquashedActor
from stable_baselines3.td3.policies import Actor
from torch import Tensor, nn

from snnrl.agents.policies.options import layer_sizes
from snnrl.errors import UserError, expect
from snnrl.nn.learning_rates import OwnLearningRates
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.registry import Spec, component, split_spec
from snnrl.parameters import Above, AtLeast, check_parameters

TARGETS = ("soft", "proxy")
"""Choices of ``target=``: a copy that follows softly (SAC: the actor itself), or a proxy."""


class Published(NamedTuple):
    """Published settings of the proxy of one neuron.

    :param learning_rate: of the proxy
    :param hidden: its neurons, by hidden layer
    """

    learning_rate: float
    hidden: tuple[int, ...]


PUBLISHED = {
    "lif": Published(1e-3, (512, 512)),
    "clif": Published(3e-3, (800, 600)),
    "dn": Published(3e-3, (512, 512)),
    "dn_mdcsan": Published(3e-3, (512, 512)),
}
"""Neuron -> settings of its proxy. On InvertedDoublePendulum ``clif`` was published with 512-512.
For ``dn_mdcsan``, which differs from ``dn`` by a sign, they are our choice."""

UNPUBLISHED = "lif"
"""Neuron whose settings other neurons and ordinary actors have: our choice."""


def published(neuron: Spec | None) -> Published:
    """Return the settings of the proxy of an actor.

    :param neuron: of the actor; ``None``: it is an ordinary one
    """
    name = None if neuron is None else component("neuron", split_spec(neuron, "neuron")[0]).name
    return PUBLISHED.get(name or UNPUBLISHED, PUBLISHED[UNPUBLISHED])


@dataclass(frozen=True)
class ProxySettings:
    """Settings of ``target=proxy``.

    :param updates: gradient steps of the proxy in each gradient step of the agent, each on its own
        minibatch; the agent learns from the last one
    :param learning_rate: of the proxy, constant; null: that published for the neuron
    :param hidden: neurons of each hidden layer; null: those published for the neuron
    """

    updates: Annotated[int, AtLeast(1)] = 3
    learning_rate: Annotated[float, Above(0)] | None = None
    hidden: list[int] | None = None


class FullSettings(NamedTuple):
    """:class:`ProxySettings` in which every value is known."""

    updates: int
    learning_rate: float
    hidden: list[int]


def proxy_settings(target: Spec, neuron: Spec | None) -> FullSettings | None:
    """Return the settings of the proxy; ``None``: there is none.

    :param target: ``soft``, ``proxy`` or ``dict(name="proxy", **parameters)``
    :param neuron: of the actor; ``None``: it is an ordinary one
    :raises UserError: another target, another parameter, or a value that does not fit
    """
    name, given = split_spec(target, "target")
    expect("target", name, TARGETS)
    if name == "soft":
        if given:
            raise UserError(
                f"target parameter={next(iter(given))}: target=soft takes no parameters"
            )
        return None
    # Any sequence will do.
    if given.get("hidden") is not None:
        given["hidden"] = _hidden(given["hidden"])
    check_parameters("target", name, ProxySettings, given, context=())
    values = asdict(ProxySettings(**given))
    usual = published(neuron)._asdict()
    values |= {key: usual[key] for key in usual if values[key] is None}
    return FullSettings(**values | {"hidden": list(values["hidden"])})


def _hidden(layers: Any) -> list[int]:
    try:
        sizes = layer_sizes(layers)
    except UserError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise UserError(
            f"target.hidden={layers}: expected a list of numbers of neurons, at least 1"
        )
    return sizes


class Proxy(OwnLearningRates):
    """A mixin for Stable-Baselines3's actors: list it before them.

    Its optimiser is the policy's, with a constant learning rate. It learns only by imitation, at
    each gradient step of an agent of this package.

    :param settings: of the proxy
    :param kwargs: arguments of the actor
    """

    optimizer: torch.optim.Optimizer
    has_agent = False

    def __init__(self, *, settings: FullSettings, **kwargs: Any):
        super().__init__(**kwargs)
        self.settings = settings

    def learning_rates(self) -> dict[str, float]:
        return {name: self.settings.learning_rate for name, _ in self.named_parameters()}

    def check_agent(self) -> None:
        """Refuse training without an agent, in which the proxy would not imitate.

        :raises UserError: there is none
        """
        if not self.has_agent:
            raise UserError(
                "target=proxy: imitates the actor in snnrl.agents.TD3, DDPG or SAC only; to act "
                "without an agent, call set_training_mode(False)"
            )

    def imitation_error(self, actor: nn.Module, observations: Tensor) -> Tensor:
        """Return the mean squared difference of proxy and actor, over batch and outputs, ``[]``.

        The actor computes in evaluation mode and without gradients, so nothing of it moves.

        :param actor: the network that learns
        :param observations: ``[B, ...]``
        """
        with torch.no_grad(), evaluation_mode(actor):
            wanted = self.outputs(actor, observations)
        return F.mse_loss(self.outputs(self, observations), wanted)

    @staticmethod
    def outputs(network: Any, observations: Tensor) -> Tensor:
        """Return what is imitated, ``[B, outputs]``, of the actor or of the proxy."""
        raise NotImplementedError

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own: dict[str, Any] = super()._get_constructor_parameters()  # type: ignore[misc]
        return {**own, "settings": self.settings}


class ProxyActor(Proxy, Actor):
    """The proxy of TD3 and DDPG: it imitates actions in [-1, 1]."""

    @staticmethod
    def outputs(network: Any, observations: Tensor) -> Tensor:
        actions: Tensor = network(observations)
        return actions


class SquashedProxy(Proxy, SquashedActor):
    """The proxy of SAC, which is ours: no publication has it.

    SAC has no target network of its actor; with a proxy, the proxy draws the next action and gives
    its entropy. It imitates the mean before the tanh and the log of the standard deviation, as
    both decide the entropy, also where the tanh saturates.
    """

    @staticmethod
    def outputs(network: Any, observations: Tensor) -> Tensor:
        mean, log_std, _ = network.get_action_dist_params(observations)
        return torch.cat([mean, log_std], dim=1)


class WithProxy(BasePolicy):
    """A mixin for the policies of TD3, DDPG and SAC: the target actor can be a proxy.

    List it before them. With a proxy there is no other target actor: ``actor_target`` is the proxy.
    The other networks start as they do without one.

    :param target: ``soft``, ``proxy`` or ``dict(name="proxy", updates=..., learning_rate=...,
        hidden=...)``: see :class:`ProxySettings`
    :raises UserError: another target, another parameter, or a value that does not fit
    """

    proxy_class: ClassVar[type[Any]]
    """The proxy of the algorithm's actor, a :class:`Proxy`."""

    net_args: dict[str, Any]
    actor_kwargs: dict[str, Any]
    actor_target: Any

    def __init__(self, *args: Any, target: Spec = "soft", **kwargs: Any):
        self.target = target
        self._proxy_settings = proxy_settings(target, self._neuron())
        super().__init__(*args, **kwargs)

    def _neuron(self) -> Spec | None:
        """Return the neuron of the actor; ``None``: it is an ordinary one."""
        return None

    @property
    def proxy(self) -> Proxy | None:
        """The proxy, if there is one."""
        target = getattr(self, "actor_target", None)
        return target if isinstance(target, Proxy) else None

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        if (settings := self._proxy_settings) is None:
            return
        if self.actor_kwargs.get("use_sde"):
            raise UserError("use_sde=True: a proxy has no gSDE; expected False, or target=soft")
        arguments = self._update_features_extractor(
            {**self.net_args, "net_arch": settings.hidden}, None
        )
        proxy = self.proxy_class(**arguments, settings=settings).to(self.device)
        proxy.optimizer = self.optimizer_class(  # type: ignore[call-arg]
            proxy.parameters(), lr=settings.learning_rate, **self.optimizer_kwargs
        )
        proxy.set_training_mode(False)
        self.actor_target = proxy

    def set_training_mode(self, mode: bool) -> None:
        """Set the mode of the networks that learn.

        :raises UserError: training mode of a policy with a proxy, without an agent
        """
        if mode and (proxy := self.proxy) is not None:
            proxy.check_agent()
        super().set_training_mode(mode)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "target": self.target}
