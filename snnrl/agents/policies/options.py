"""The spiking part of ``policy_kwargs``, for every algorithm."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import Tensor, nn

from snnrl.errors import UserError, expect
from snnrl.nn.convolution import conv_lists
from snnrl.nn.encoders import shape_of_step, takes_time
from snnrl.nn.lateral import check_lateral
from snnrl.nn.networks import SpikingNetwork, check_size
from snnrl.nn.norm import NormStrategy, make_strategy
from snnrl.nn.ordinary import ordinary_strategy
from snnrl.nn.readouts import readout_name
from snnrl.nn.registry import Spec, build, component, split_spec
from snnrl.parameters import AtLeast, Parameter

SPIKING_DEFAULTS: dict[str, Any] = {
    "actor": "spiking",
    "critic": "ann",
    "neuron": "lif",
    "surrogate": "rectangular",
    "encoder": "population",
    "conv": None,
    "bn": "carebn",
    "time_steps": 5,
    "population": 10,
    "readout": "auto",
    "lateral": "none",
    "regulation": None,
    "losses": (),
    "kernel": "auto",
}
"""Defaults: the published network with the LIF neuron."""

CRITIC_DEFAULTS: dict[str, Any] = {
    "bn": "carebn",
    "time_steps": 5,
    "regulation": None,
    "losses": (),
}
"""Defaults of a spiking critic, ``dict(name="spiking", ...)``."""

N_CRITICS = Parameter("n_critics", int, 2, AtLeast(1), "number of critics")
"""Stable-Baselines3's, whose optimiser fails without one."""


NAMED_OTHERWISE = {"hidden": "net_arch"}
"""Names of the configuration for what is called otherwise here."""

OF_THE_AGENT = ("self", "observation_space", "action_space", "lr_schedule")
"""Arguments of every policy that are none of ``policy_kwargs``."""


class SpikingOptions:
    """The spiking part of ``policy_kwargs``, checked.

    :param given: the user's options; the rest come from :data:`SPIKING_DEFAULTS`
    :param observation_space: of the environment
    :raises UserError: a value that does not fit, or observations that are not one array
    """

    flattens_images: ClassVar[bool] = False
    """True if networks without convolutions read images as vectors of pixels in [0, 1]."""

    def __init__(self, given: Mapping[str, Any], observation_space: spaces.Space[Any]):
        if not isinstance(observation_space, spaces.Box):
            raise UserError(
                f"SpikingPolicy: takes observations that are one array (Box), not "
                f"{type(observation_space).__name__}; wrap the environment in FlattenObservation"
            )
        expect("actor", given.get("actor", "spiking"), ("spiking", "ann"))
        self.spiking_actor = given.get("actor", "spiking") == "spiking"
        ordinary = {} if self.spiking_actor else {"bn": "none"}
        self.given = {**SPIKING_DEFAULTS, **ordinary, **given}
        self.observation_space = observation_space
        if not self.spiking_actor:
            ordinary_strategy(self.given["bn"])
        name, critic = split_spec(self.given["critic"], "critic")
        expect("critic", name, ("ann", "spiking"))
        self.spiking_critic = name == "spiking"
        if not self.spiking_critic:
            critic_strategy(self.given["critic"])
        for key in critic:
            expect("critic parameter", key, CRITIC_DEFAULTS)
        critic = {**CRITIC_DEFAULTS, **critic}
        self.norm = make_strategy(self.given["bn"])
        self.critic_norm = make_strategy(critic["bn"])
        self.critic_time_steps: int = critic["time_steps"]
        self.critic_regulation: Spec | None = critic["regulation"]
        self._losses: Any = self.given["losses"]
        self._critic_losses: Any = critic["losses"]
        self.make_losses()
        self.make_critic_losses()
        for key in ("losses", "regulation"):
            if self.given[key] and not self.spiking_actor:
                raise UserError(
                    f"{key}={self.given[key]}: an ordinary actor has no spikes; expected none, or "
                    f"critic=dict(name='spiking', {key}=...)"
                )
        for name, value in (
            ("time_steps", self.given["time_steps"]),
            ("time_steps", self.critic_time_steps),
            ("population", self.given["population"]),
        ):
            check_size(name, value)
        readout_name(self.given["readout"], others=("auto",))
        check_lateral(self.given["lateral"])
        if self.given["lateral"] != "none" and not self.spiking_actor:
            raise UserError(
                f"lateral={self.given['lateral']}: an ordinary actor has no spikes; expected none"
            )
        if self.given["conv"] is not None:
            conv_lists(self.given["conv"])

    @classmethod
    def take(
        cls,
        kwargs: dict[str, Any],
        observation_space: spaces.Space[Any],
        policy: type[nn.Module],
        without: Sequence[str] = (),
    ) -> Self:
        """Move the spiking options out of ``kwargs``, and check that only arguments of ``policy``
        are left.

        :param policy: the class of the policy, whose constructors take the rest
        :param without: spiking keys that this algorithm does not know
        :raises UserError: an unknown key, or a value that does not fit
        """
        ours = [key for key in SPIKING_DEFAULTS if key not in without]
        check_keywords(policy, kwargs, ours)
        if "n_critics" in kwargs:
            N_CRITICS.check("n_critics", kwargs["n_critics"])
        given = {key: kwargs.pop(key) for key in ours if key in kwargs}
        options = cls(given, observation_space)
        if cls.flattens_images or options.takes_time:
            spikes = options.spiking_actor
            time_steps = options.given["time_steps"] if spikes else options.critic_time_steps
            shape_of_step(options.given["encoder"], observation_space.shape or (), time_steps)
        if options.given["conv"] is not None:
            given_extractor = kwargs.get("features_extractor_class", UnflattenedExtractor)
            if given_extractor is not UnflattenedExtractor:
                raise UserError(
                    "features_extractor_class: spiking convolutions read the image itself; "
                    "expected conv alone"
                )
            kwargs["features_extractor_class"] = UnflattenedExtractor
        elif (
            "conv" in ours
            and not cls.flattens_images
            and "features_extractor_class" not in kwargs
            and len(observation_space.shape or ()) == 3
        ):
            raise UserError(
                f"conv=None: observations of shape {observation_space.shape} are images; expected "
                "dict(channels=[...], kernels=[...], strides=[...])"
            )
        return options

    def ordinary(self) -> dict[str, Any]:
        """Return the normalisations of the ordinary parts, as ``AnnPolicy`` takes them."""
        return {
            "bn": "none" if self.spiking_actor else self.given["bn"],
            "critic": "ann" if self.spiking_critic else self.given["critic"],
        }

    def make_actor(self, outputs: int, hidden: Sequence[int], features: int) -> SpikingNetwork:
        """Return the network of an actor; the default readout is by population.

        :param features: number of features of a flattened observation
        """
        return self._make(
            outputs, hidden, features, self.norm, self.given["time_steps"], "population"
        )

    def make_q_network(self, outputs: int, hidden: Sequence[int], features: int) -> SpikingNetwork:
        """Return the network of DQN; the default readout is linear."""
        return self._make(outputs, hidden, features, self.norm, self.given["time_steps"], "linear")

    def make_critic(self, hidden: Sequence[int], features: int, actions: int = 0) -> SpikingNetwork:
        """Return the network of a critic: one value, linear readout.

        :param actions: size of the action that follows the observation in the input; if it is not
            0, the caller scales bytes
        """
        return self._make(
            1,
            hidden,
            features + actions,
            self.critic_norm,
            self.critic_time_steps,
            "linear",
            readout="linear",
            lateral="none",
            losses=self._critic_losses,
            regulation=self.critic_regulation,
            input_range=None if actions else self.input_range,
        )

    def __reduce__(self) -> tuple[type[SpikingOptions], tuple[Any, ...]]:
        # All else is derived from these by the version that reads them.
        return type(self), (self.given, self.observation_space)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Written by an earlier version.
        self.__init__(state["given"], state["observation_space"])  # type: ignore[misc]

    def make_losses(self) -> nn.ModuleList:
        """Return the terms of the actor's loss, or of the Q-network's."""
        return _loss_terms("losses", self._losses)

    def make_critic_losses(self) -> nn.ModuleList:
        """Return the terms of a critic's loss."""
        return _loss_terms("critic losses", self._critic_losses)

    @property
    def takes_time(self) -> bool:
        """Whether observations have a time axis: frames ``[T, C, H, W]``."""
        return takes_time(self.given["encoder"])

    @property
    def encoder_scales(self) -> bool:
        """Whether the encoder scales observations that are bytes."""
        chosen = component("encoder", split_spec(self.given["encoder"], "encoder")[0])
        return bool(getattr(chosen.maker, "scales", False))

    @property
    def input_range(self) -> tuple[float, float] | None:
        """Bounds of observations that are bytes; ``None`` for others, which are not scaled.

        Stable-Baselines3 scales images, to [0, 1].
        """
        space = self.observation_space
        if self.flattens_images and self.given["conv"] is None and len(space.shape) == 3:
            return 0.0, 1.0
        if space.dtype != np.uint8 or len(space.shape) == 3:
            return None
        return float(space.low.min()), float(space.high.max())

    def _make(
        self,
        outputs: int,
        hidden: Sequence[int],
        features: int,
        norm: NormStrategy,
        time_steps: int,
        usual_readout: str,
        readout: str | None = None,
        losses: Any = None,
        **changes: Any,
    ) -> SpikingNetwork:
        given, shape = self.given, self.observation_space.shape
        losses = self._losses if losses is None else losses
        chosen = given["readout"] if readout is None else readout
        arguments: dict[str, Any] = {
            "input_range": self.input_range,
            "regulation": given["regulation"],
            "lateral": given["lateral"],
            **changes,
        }
        network = SpikingNetwork(
            features if given["conv"] is None and not self.takes_time else shape,
            outputs,
            hidden,
            neuron=given["neuron"],
            surrogate=given["surrogate"],
            encoder=given["encoder"],
            norm=norm,
            time_steps=time_steps,
            population=given["population"],
            kernel=given["kernel"],
            readout=usual_readout if chosen == "auto" else chosen,
            conv=given["conv"],
            **arguments,
        )
        if losses and not network.stack():
            raise UserError(
                f"losses={losses}: net_arch={list(hidden)} and readout=linear leave no spiking "
                "layer, whose spikes they read; expected a hidden layer, or no losses"
            )
        return network


def check_keywords(
    policy: type[nn.Module], given: Mapping[str, Any], others: Sequence[str] = ()
) -> None:
    """Check that the constructors of a policy take each keyword.

    :param policy: of this package
    :param given: keyword arguments, such as ``policy_kwargs``
    :param others: further keywords
    :raises UserError: one that none takes
    """
    found: list[str] = []
    for owner in policy.__mro__:
        if "__init__" not in vars(owner):
            continue
        parameters = inspect.signature(vars(owner)["__init__"]).parameters.values()
        found += [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if all(p.kind != p.VAR_KEYWORD for p in parameters):
            break
    known = [key for key in dict.fromkeys([*others, *found]) if key not in OF_THE_AGENT]
    for key in given:
        if key in NAMED_OTHERWISE and key not in known:
            raise UserError(
                f"policy_kwargs={key}: expected {NAMED_OTHERWISE[key]}, the name that it has here"
            )
        if key not in OF_THE_AGENT:
            expect("policy_kwargs", key, known)


def critic_strategy(critic: Spec) -> NormStrategy | None:
    """Make the strategy of an ordinary critic; ``None``: it has no normalisation.

    :param critic: ``ann`` or ``dict(name="ann", bn=...)``
    :raises UserError: another critic, another parameter, or as :func:`ordinary_strategy`
    """
    name, parameters = split_spec(critic, "critic")
    expect("critic", name, ("ann",))
    for key in parameters:
        expect("critic parameter", key, ("bn",))
    return ordinary_strategy(parameters.get("bn", "none"), "critic bn")


def _loss_terms(key: str, specs: Any) -> nn.ModuleList:
    if isinstance(specs, str | type | Mapping) or not isinstance(specs, Sequence):
        raise UserError(f"{key}={specs}: expected a list of names or dict(name=..., **parameters)")
    return nn.ModuleList(build("loss", spec) for spec in specs)


def hidden_layers(net_arch: Any, other: str) -> dict[str, list[int]]:
    """Return the hidden layers of the actor (``pi``) and of the critic (``other``).

    :param net_arch: one list for both, or a mapping with a list for each
    :param other: ``qf`` or ``vf``
    :raises UserError: another key, a missing one, or layers that are not integers
    """
    mapping = f"dict(pi=[...], {other}=[...])"
    if not isinstance(net_arch, Mapping):
        layers = layer_sizes(net_arch, f", or {mapping}")
        return {"pi": layers, other: list(layers)}
    for key in net_arch:
        expect("net_arch", key, ("pi", other))
    for key in ("pi", other):
        if key not in net_arch:
            raise UserError(f"net_arch: has no {key}; expected {mapping}")
        layer_sizes(net_arch[key], f" in {mapping}", named=net_arch)
    return {key: list(layers) for key, layers in net_arch.items()}


def layer_sizes(layers: Any, or_else: str = "", named: Any = None) -> list[int]:
    """Return the neurons of each hidden layer, as a list.

    :param or_else: other accepted values, for the error message
    :param named: value to show in the error, ``layers`` if not given
    :raises UserError: not a list of integers
    """
    numbers = isinstance(layers, Sequence) and not isinstance(layers, str)
    if not numbers or any(
        not isinstance(size, int | np.integer) or isinstance(size, bool) for size in layers
    ):
        raise UserError(
            f"net_arch={layers if named is None else named}: expected numbers of neurons{or_else}"
        )
    return list(layers)


class UnflattenedExtractor(BaseFeaturesExtractor):
    """An extractor that passes images ``[B, C, H, W]`` unchanged to networks with convolutions."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, FlattenExtractor(observation_space).features_dim)

    def forward(self, observations: Tensor) -> Tensor:
        """Return the observations."""
        return observations
