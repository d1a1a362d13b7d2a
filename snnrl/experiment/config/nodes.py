"""Types of the choices of each group: written ones, and those of components, from what their
constructors say. Hydra checks the files of ``configs/`` against them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import field, fields, is_dataclass, make_dataclass
from functools import cache, partial, reduce
from operator import or_
from types import NoneType
from typing import Any, NamedTuple, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from snnrl.experiment.config import facts
from snnrl.experiment.config.algorithms import (
    DDPGConfig,
    DQNConfig,
    PPOConfig,
    SACConfig,
    TD3Config,
)
from snnrl.experiment.config.resolvers import RESOLVERS
from snnrl.experiment.config.schema import (
    PLACES,
    ActorConfig,
    AnnCriticConfig,
    BNConfig,
    ClassifyConfig,
    ConvConfig,
    ConvolutionsConfig,
    CriticConfig,
    DataConfig,
    EncoderConfig,
    EnvConfig,
    EventsConfig,
    FilesConfig,
    KernelConfig,
    LossConfig,
    NeuronConfig,
    ProxyConfig,
    RegulationConfig,
    RunConfig,
    SpikingActorConfig,
    SpikingCriticConfig,
    SurrogateConfig,
    TargetConfig,
    TrackingConfig,
    WandbConfig,
)
from snnrl.parameters import WORDS
from snnrl.run_format.settings import step_of

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
    "data": {
        "digits": DataConfig,
        "mnist": FilesConfig,
        "cifar10": FilesConfig,
        "dvs_cifar10": EventsConfig,
    },
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
        "vgg9": ConvolutionsConfig,
    },
    "bn": {},
    "loss": {"none": LossConfig},
    "regulation": {"none": RegulationConfig},
    "target": {"soft": TargetConfig, "proxy": ProxyConfig},
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


class Root(NamedTuple):
    """A command that trains, by what it composes.

    :param name: of the command, and of its file in ``configs/``
    :param node: type of its configuration
    :param without: groups of which it has no choice
    :param derived: groups and settings that follow from its others, or have one value
    :param step: what a step is
    """

    name: str
    node: type
    without: tuple[str, ...]
    derived: tuple[str, ...] = ()
    step: str = step_of({})

    def is_derived(self, key: str) -> bool:
        """Return whether a setting cannot be given."""
        return any(key == each or key.startswith(f"{each}.") for each in self.derived)

    def groups(self) -> list[str]:
        """Return the groups of components and settings."""
        return [group for group in NODES if group not in self.without]

    def places(self) -> dict[str, str]:
        """Return the further places of its groups."""
        return {at: group for at, group in PLACES.items() if at.split(".")[0] in self.groups()}

    def choices(self) -> list[str]:
        """Return what ``group=choice`` chooses from: groups, and experiments where it has them."""
        return [*self.groups(), *(() if "experiment" in self.without else ("experiment",))]


TRAIN = Root("train", RunConfig, ("data",))
CLASSIFY = Root(
    "classify",
    ClassifyConfig,
    without=("env", "algo", "critic", "target", "experiment"),
    derived=(
        *("env", "critic", "target", "total_steps", "seeding"),
        *("evaluation.episodes", "evaluation.max_episode_steps"),
    ),
    step=step_of({"data": {}}),
)
ROOTS = {root.name: root for root in (TRAIN, CLASSIFY)}


def root_of(config: Mapping[str, Any] | DictConfig) -> Root:
    """Return the command of a configuration."""
    return CLASSIFY if "data" in config else TRAIN


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
    for root in ROOTS.values():
        store.store(name=f"{root.name}_schema", node=root.node)
    for group, nodes in NODES.items():
        for choice, node in nodes.items():
            if choice:
                store.store(group=f"schema/{group}", name=choice, node=node, package=group)
    for name, resolver in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


@cache
def setting_types(root: Root = TRAIN) -> dict[str, Any]:
    """Return dotted key -> type for every setting of every choice of the command's groups."""
    types: dict[str, Any] = {}
    for name, hint in get_type_hints(root.node).items():
        if not is_dataclass(hint):
            types[name] = hint
        elif name in root.groups():
            types |= _types_in(name, NODES[name].values())
        else:
            types |= _types_in(name, [hint])
            # There is nothing to choose.
            types.pop(f"{name}.name", None)
    return {key: kind for key, kind in types.items() if not root.is_derived(key)}


def _types_in(place: str, nodes: Iterable[Any]) -> dict[str, Any]:
    """Return the same for one place, over every type that it can have."""
    types: dict[str, Any] = {}
    for node in nodes:
        for name, hint in get_type_hints(node).items():
            key = f"{place}.{name}"
            if key in PLACES:
                types |= _types_in(key, NODES[PLACES[key]].values())
            else:
                types |= _types_in(key, [hint]) if is_dataclass(hint) else {key: hint}
    return types
