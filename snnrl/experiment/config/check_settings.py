"""Fast checks of a configuration, without agent and environment: bounds and consistency."""

from __future__ import annotations

import math
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from snnrl.errors import UserError, expect
from snnrl.experiment.config.check_learning import check_minibatch, check_replay, check_rollout
from snnrl.experiment.config.check_normalisation import check_normalisation
from snnrl.experiment.config.check_parts import check_parts
from snnrl.experiment.config.choices import (
    classifies,
    normalisations,
    on_policy,
)
from snnrl.experiment.config.plugins import check_plugins
from snnrl.experiment.config.schema import PLACES
from snnrl.experiment.config.written import check_round_trip
from snnrl.run_format.place import check_place

LARGEST = 10**12
"""Limit of sizes and counts, beyond which counters overflow."""


def check_settings(cfg: DictConfig) -> None:
    """Check the settings of one composed configuration.

    :raises UserError: the first setting that does not fit, named by its key
    """
    check_bounds(cfg)
    check_plugins(cfg, PLACES)
    check_parts(cfg)
    for key, bn in normalisations(cfg).items():
        check_normalisation(key, bn, cfg)
    if classifies(cfg):
        check_minibatch(cfg)
    elif on_policy(cfg):
        check_rollout(cfg)
    else:
        check_replay(cfg)
    _check_results_dir(cfg.results_dir)
    _check_experiment_name(cfg.experiment_name)
    check_round_trip(cfg)


def _check_results_dir(results_dir: str) -> None:
    if results_dir.startswith("~"):
        raise UserError(
            f"results_dir={results_dir}: expected a path without '~', such as $HOME/..."
        )
    check_place(Path(results_dir), f"results_dir={results_dir}")


def _check_experiment_name(name: str | None) -> None:
    if name is not None and not re.fullmatch(r"\w[\w.-]{0,39}", name):
        raise UserError(
            f"experiment_name={name!r}: expected at most 40 letters, digits, '_', '.' and '-', a "
            "letter or digit first"
        )


def check_bounds(node: DictConfig, prefix: str = "") -> None:
    """Check every setting of a configuration on its own.

    :raises UserError: one has no value, or is out of bounds
    """
    typed: Any = OmegaConf.get_type(node)
    for field in fields(typed):
        name = field.name
        if OmegaConf.is_missing(node, name):
            raise UserError(f"{prefix}{name}: has no value")
        value = node[name]
        if field.default_factory in (dict, list):
            continue  # Only the environment can check these.
        if isinstance(value, DictConfig) and is_dataclass(OmegaConf.get_type(value)):
            check_bounds(value, f"{prefix}{name}.")
            continue
        if isinstance(value, ListConfig) and not value and field.default_factory is MISSING:
            raise UserError(f"{prefix}{name}=[]: expected at least one number")
        if isinstance(value, DictConfig):
            continue  # These may have any form.
        for item in value if isinstance(value, ListConfig) else [value]:
            _check_bound(prefix + name, item, field.metadata)


def _check_bound(key: str, value: Any, bounds: Any) -> None:
    if value is None or isinstance(value, bool):
        return
    if bounds["choices"] and isinstance(value, str):
        expect(key, value, bounds["choices"], others=bounds.get("others", ()))
    if isinstance(value, str):
        if not value:
            raise UserError(f"{key}=: expected a value")
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key}={value}: expected a finite number")
    low, above = bounds["minimum"], bounds["above"]
    high = LARGEST if bounds["maximum"] is None else bounds["maximum"]
    if low is not None and not value >= low:
        raise UserError(f"{key}={value}: expected at least {low}")
    if above is not None and not value > above:
        raise UserError(f"{key}={value}: expected more than {above}")
    if not value <= high:
        raise UserError(f"{key}={value}: expected at most {high}")
