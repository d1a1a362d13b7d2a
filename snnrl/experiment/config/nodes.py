"""Types of the choices of each group: written ones, and those of components, from what their
constructors say. Hydra checks the files of ``configs/`` against them."""

from __future__ import annotations

import re
from copy import copy
from dataclasses import field, fields, is_dataclass, make_dataclass
from functools import cache, partial, reduce
from operator import or_
from types import NoneType
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from snnrl.experiment.config import facts
from snnrl.experiment.config.resolvers import RESOLVERS
from snnrl.experiment.config.schema import (
    PLACES,
    ActorConfig,
    AnnCriticConfig,
    BNConfig,
    ConvConfig,
    ConvolutionsConfig,
    CriticConfig,
    DDPGConfig,
    DQNConfig,
    EncoderConfig,
    EnvConfig,
    KernelConfig,
    LossConfig,
    NeuronConfig,
    PPOConfig,
    RegulationConfig,
    RunConfig,
    SACConfig,
    SpikingActorConfig,
    SpikingCriticConfig,
    SurrogateConfig,
    TD3Config,
    TrackingConfig,
    WandbConfig,
)
from snnrl.parameters import WORDS

BASES: dict[str, type] = {
    "neuron": NeuronConfig,
    "surrogate": SurrogateConfig,
    "encoder": EncoderConfig,
    "bn": BNConfig,
    "loss": LossConfig,
    "regulation": RegulationConfig,
}
"""Group of components -> base type of its choices."""

TYPES: dict[str, Any] = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "null": None,
    "any": Any,
    "list[int]": list[int],
    "list[float]": list[float],
    "list[str]": list[str],
    "dict[str, any]": dict[str, Any],
}
"""Type names of :mod:`snnrl.experiment.config.facts` -> types."""


def component_node(group: str, choice: str) -> type:
    """Return the type of a component's settings, with its constructor's defaults as values."""
    settings = facts.components()[group][choice].settings
    typed = [
        (name, _type(setting), _field(group, name, setting)) for name, setting in settings.items()
    ]
    base = BASES[group]
    (name,) = fields(base)
    named = ("name", str, field(default=choice, metadata=name.metadata))
    words = "".join(word.capitalize() for word in re.split(r"\W|_", choice))
    return make_dataclass(
        f"{words}{base.__name__}",
        [named, *typed],
        bases=(base,),
        namespace={"__module__": __name__},
    )


def _type(setting: facts.Setting) -> Any:
    types = [TYPES[word] for word in setting.types]
    if _holds_floats(setting) and str in types:
        # A union of OmegaConf's makes no float of an integer: see ``compose_config``.
        types.append(int)
    return reduce(or_, types)


def _holds_floats(setting: facts.Setting) -> bool:
    return "float" in setting.types and "int" not in setting.types


def _field(group: str, name: str, setting: facts.Setting) -> Any:
    metadata = {
        key: getattr(setting, key) for key in ("meaning", "minimum", "above", "maximum", "choices")
    }
    metadata["floats"] = _holds_floats(setting)
    if setting.choices:
        others = [TYPES[word] or NoneType for word in setting.types if word != "str"]
        metadata["others"] = tuple(WORDS[other] for other in others)
    default = setting.default
    if setting.required:
        default = MISSING
    elif (group, name) == ("bn", "recalibrate_every") and default is not None:
        default = f"${{off_policy:{default}}}"
    if isinstance(default, list | dict):
        return field(default_factory=partial(copy, default), metadata=metadata)
    return field(default=default, metadata=metadata)


NODES: dict[str, dict[str, type]] = {
    "env": {"": EnvConfig},
    "algo": {
        "td3": TD3Config,
        "ddpg": DDPGConfig,
        "sac": SACConfig,
        "dqn": DQNConfig,
        "ppo": PPOConfig,
    },
    "actor": {"spiking": SpikingActorConfig, "ann": ActorConfig},
    "critic": {
        "ann": AnnCriticConfig,
        "ann_late": AnnCriticConfig,
        "spiking": SpikingCriticConfig,
        "none": CriticConfig,
    },
    "neuron": {},
    "surrogate": {},
    "encoder": {},
    "conv": {
        "none": ConvConfig,
        "nature": ConvolutionsConfig,
        "minatar": ConvolutionsConfig,
    },
    "bn": {},
    "loss": {"none": LossConfig},
    "regulation": {"none": RegulationConfig},
    "kernel": {"": KernelConfig},
    "tracking": {
        "wandb": WandbConfig,
        "tensorboard": TrackingConfig,
        "none": TrackingConfig,
    },
}
"""Group -> choice -> its type; the key ``""`` where all choices of a group share one type."""

for _group in BASES:
    for _choice in facts.components()[_group]:
        NODES[_group][_choice] = component_node(_group, _choice)


def add_choice(group: str, choice: str) -> None:
    """Add the type of a component that :func:`snnrl.experiment.config.facts.add` has added."""
    node = component_node(group, choice)
    NODES[group][choice] = node
    ConfigStore.instance().store(group=f"schema/{group}", name=choice, node=node, package=group)
    setting_types.cache_clear()


def add_choice_without_file(group: str, choice: str) -> None:
    """Make a component a choice without a file: its defaults are its values."""
    ConfigStore.instance().store(group=group, name=choice, node=NODES[group][choice])


@cache
def register() -> None:
    """Register the types with Hydra, which checks the files of ``configs/`` against them.

    Done once per process: it takes a sixth of the time of a composition.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=RunConfig)
    for group, nodes in NODES.items():
        for choice, node in nodes.items():
            if choice:
                store.store(group=f"schema/{group}", name=choice, node=node, package=group)
    for name, resolver in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


@cache
def setting_types() -> dict[str, Any]:
    """Return dotted key -> type for every setting of every choice of the groups."""
    types: dict[str, Any] = {}
    for name, hint in get_type_hints(RunConfig).items():
        types |= _types_in(name, hint) if is_dataclass(hint) else {name: hint}
    return types


def _types_in(place: str, base: Any) -> dict[str, Any]:
    """Return the same for one place, over every choice of its group."""
    types: dict[str, Any] = {}
    for node in NODES.get(PLACES.get(place, place), {"": base}).values():
        for name, hint in get_type_hints(node).items():
            key = f"{place}.{name}"
            nested = is_dataclass(hint) or key in PLACES
            types |= _types_in(key, hint) if nested else {key: hint}
    return types
