"""Names of a setting: its hash, its folder, its label."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache, reduce

from omegaconf import DictConfig, ListConfig, OmegaConf

from snnrl.experiment.config import facts
from snnrl.experiment.config.choice_files import environment_choice
from snnrl.experiment.config.choices import choices_of_places, has_schedule, spiking_parts
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.nodes import Root, root_of
from snnrl.experiment.config.schema import PLACES
from snnrl.run_format.settings import (
    CAME_LATER,
    NOT_SETTINGS,
    NOT_SETTINGS_OF_DATA,
    WITHOUT_DEFAULT,
)

ONLY_SPIKING = ("neuron", "surrogate", "encoder", "kernel", "loss", "regulation")
"""Groups that have no effect for an agent without a spiking network."""

HASH_DIGITS = 8

IN_THE_PATH = ("env.id", "env.observation", "data.name", "data.root", "seeding")
"""Settings that the path names elsewhere: in the environment's folder, or only through the hash."""


def folder_name(cfg: DictConfig) -> str:
    """Return ``<algo>-<neuron>-<bn>[-<experiment_name>]-<hash>``, with the actor's name in place of
    the neuron's for an ordinary actor."""
    spikes = cfg.actor.name == "spiking"
    # Runs made before experiments had names have none.
    experiment = cfg.get("experiment_name")
    parts = [cfg.algo.name, (cfg.neuron if spikes else cfg.actor).name, cfg.bn.name, experiment]
    words = (re.sub(r"[^\w.-]+", "", part) for part in parts if part is not None)
    return "-".join([*words, settings_hash(cfg)])


def settings_hash(cfg: DictConfig) -> str:
    """Return eight hex digits: the hash of all settings that change learning, except the seed."""
    settings = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(settings, dict)
    skipped = _ignored_keys(cfg)
    kept = {key: value for key, value in settings.items() if key not in skipped}
    # Runs recorded when their number counted have one.
    kept["threads"] = 1
    for key, value in CAME_LATER.items():
        # So that a run made before this setting existed is still found.
        *groups, name = key.split(".")
        place = reduce(lambda node, group: node.get(group) or {}, groups, kept)
        if cfg.algo.name in WITHOUT_DEFAULT.get(key, ()):
            continue
        if isinstance(place, dict) and name in place and place[name] == value:
            del place[name]
    if "data" in kept:
        kept["data"] = {
            key: value
            for key, value in kept["data"].items()
            if f"data.{key}" not in NOT_SETTINGS_OF_DATA
        }
    if "plugins" in kept:
        # Importing them in another order is the same experiment.
        kept["plugins"] = sorted(set(kept["plugins"]))
    kept = {key: value for key, value in kept.items() if value != {}}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:HASH_DIGITS]


def label(cfg: DictConfig) -> str:
    """Return ``<algo>-<actor>-<neuron>-<bn>`` and all other settings that differ from their
    defaults."""
    skipped = _ignored_keys(cfg)
    parts = [
        cfg[g].name for g in ("algo", "actor", "neuron", "bn") if g not in skipped or g == "bn"
    ]
    own = [node.name for node in choices_of_places(cfg).values()]
    if cfg.critic.name != facts.algorithm(cfg).critics[0] or own:
        parts.append("_".join(["critic", cfg.critic.name, *own]))
    if cfg.env.observation != "default":
        parts.append(cfg.env.observation)
    main, root = _main_choices(cfg), root_of(cfg)
    parts += [
        cfg[g].name
        for g in ("surrogate", "encoder", "conv", "loss", "regulation", "target", "kernel")
        if g not in skipped and cfg[g].name != _defaults(root, *main)[g].name
    ]
    parts += _differences(cfg, _defaults(root, *main, *_other_choices(cfg)), skipped)
    return re.sub(r"[^\w=.,-]+", "", "-".join(parts))


def _main_choices(cfg: DictConfig) -> list[str]:
    if "data" in cfg:
        return [f"data={cfg.data.name}", f"actor={cfg.actor.name}"]
    env = environment_choice(cfg.env.id, cfg.env.observation)
    known = [f"env={env}"] if env is not None else []
    return [*known, f"algo={cfg.algo.name}", f"actor={cfg.actor.name}"]


def _other_choices(cfg: DictConfig) -> list[str]:
    groups = ["neuron", "surrogate", "encoder", "conv", "bn", "kernel", "loss", "regulation"]
    if "data" not in cfg:
        groups = ["critic", *groups, "target"]
    own = choices_of_places(cfg).items()
    return [
        *(f"{group}={cfg[group].name}" for group in groups),
        *(f"{PLACES[place]}@{place}={node.name}" for place, node in own),
    ]


@cache
def _defaults(root: Root, *choices: str) -> DictConfig:
    return compose_config(choices, root)


def _ignored_keys(cfg: DictConfig) -> tuple[str, ...]:
    """Return the top-level keys that do not affect learning in this configuration."""
    if spiking_parts(cfg):
        # With a schedule over training another length is another experiment.
        scheduled = has_schedule(cfg)
        return tuple(key for key in NOT_SETTINGS if not (scheduled and key == "total_steps"))
    # Settings of bn=none have no effect.
    return (*NOT_SETTINGS, *ONLY_SPIKING, *(("bn",) if cfg.bn.name == "none" else ()))


def _differences(
    cfg: DictConfig, defaults: DictConfig, skipped: tuple[str, ...], prefix: str = ""
) -> list[str]:
    found = []
    for key in map(str, cfg):
        path = f"{prefix}{key}"
        if path in skipped or path in IN_THE_PATH:
            continue
        ours, theirs = cfg[key], defaults.get(key)
        if isinstance(ours, DictConfig) and isinstance(theirs, DictConfig):
            found += _differences(ours, theirs, skipped, f"{path}.")
        elif ours != theirs:
            value = ",".join(map(str, ours)) if isinstance(ours, ListConfig) else ours
            found.append(f"{path}={value}")
    return found
