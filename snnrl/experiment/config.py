"""From command-line overrides to a checked configuration, with errors that name the key."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import snnrl
from snnrl.errors import UserError, expect, nearest
from snnrl.experiment.schema import NODES, register, setting_types

_PACKAGE = Path(snnrl.__file__).parent
CONFIG_DIR = next(d for d in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if d.is_dir())
"""Beside the package in an installed wheel, at the top of a checkout otherwise."""

GROUPS = (*NODES, "experiment")

HOLDS_INTEGERS = (int, int | None, list[int])


def choices(group: str) -> list[str]:
    """Names that ``group=...`` takes."""
    folder = CONFIG_DIR / group
    names = [p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml")]
    return sorted(names)


def compose_config(overrides: Iterable[str] = ()) -> DictConfig:
    """One configuration, unchecked but for its types.

    :param overrides: as on the command line, without sweeps
    :raises UserError: unknown group choice, unknown key or wrong type
    """
    register()
    overrides = list(overrides)
    try:
        if GlobalHydra.instance().is_initialized():
            cfg = compose("train", overrides=overrides)
        else:
            with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
                cfg = compose("train", overrides=overrides)
        OmegaConf.resolve(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from None
    return cfg


def expand(overrides: Iterable[str]) -> Iterator[list[str]]:
    """Every job of a sweep: ``["seed=0,1"]`` -> ``["seed=0"]``, ``["seed=1"]``.

    :raises UserError: an override that cannot be read
    """
    alternatives = []
    for text in overrides:
        override = _parse(text)
        key = override.get_key_element()
        swept = override.is_sweep_override()
        alternatives.append([f"{key}={value}" for value in _swept(override)] if swept else [text])
    for combination in itertools.product(*alternatives):
        yield list(combination)


def is_sweep(override: str) -> bool:
    """Whether an override has more than one value, as in ``seed=0,1``."""
    return _parse(override).is_sweep_override()


def check_override(text: str) -> str:
    """Check an override's key or group choice, and write integral floats as integers.

    :return: the override, ``total_steps=1e6`` as ``total_steps=1000000``
    :raises UserError: unknown group choice or key
    """
    override = _parse(text)
    key = override.key_or_group
    if override.is_hydra_override():
        return text
    if override.is_delete():
        raise UserError(f"{text}: a setting cannot be taken away; expected key=value")
    if key in GROUPS:
        _check_choice(override)
        return text
    _check_key(key)
    return _integral(text) if setting_types()[key] in HOLDS_INTEGERS else text


def explain(error: Exception) -> UserError:
    """One line from Hydra's chain of exceptions, which names the key in its innermost."""
    innermost: BaseException = error
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
    key = getattr(innermost, "full_key", None)
    text = str(getattr(innermost, "msg", None) or innermost).strip().split("\n")[0]
    if not key:
        return UserError(text)
    wrong_type = r"Value '(.*)' (?:of type '\w+' could not be converted to|is not a valid) (\w+)"
    if match := re.match(wrong_type, text):
        value, expected = match.groups()
        words = {"Integer": "an integer", "Float": "a number", "bool": "true or false"}
        return UserError(f"{key}={value}: expected {words.get(expected, expected)}")
    if "is not Optional" in text:
        return UserError(f"{key}=null: expected a value")
    if "is not a ListConfig" in text:
        return UserError(f"{key}: expected a list, such as [256,256]")
    if key in setting_types() and re.match(r"Key '\w+' (is )?not in", text):
        group, name = key.split(".")
        owners = [choice for choice, node in NODES[group].items() if hasattr(node, name)]
        return UserError(f"{key}: expected only with {group}={' or '.join(owners)}")
    return UserError(f"{key}: {text}")


def _check_choice(override: Override) -> None:
    key = override.key_or_group
    values = _swept(override) if override.is_sweep_override() else [override.value()]
    for value in values:
        name = "null" if value is None else str(value)
        if key != "experiment" or name != "null":
            expect(key, name, choices(key))


def _check_key(key: str) -> None:
    known = setting_types()
    group, _, name = key.rpartition(".")
    if name == "name" and group in GROUPS:
        raise UserError(f"{key}: follows from the choice; expected {group}=...")
    if key not in known:
        by_name = [k for k in known if k.rpartition(".")[2] == name]
        hint = f"; did you mean '{by_name[0]}'?" if by_name else nearest(key, known)
        raise UserError(f"{key}: no such setting{hint or '; --help lists all'}")


def _integral(text: str) -> str:
    def as_integer(match: re.Match[str]) -> str:
        value = float(match[0])
        return str(int(value)) if value.is_integer() else match[0]

    key, _, values = text.partition("=")
    floats = r"(?<![\w.])[-+]?(\d+\.\d*|\d*\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?(?![\w.])"
    return f"{key}={re.sub(floats, as_integer, values)}"


def _parse(text: str) -> Override:
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        override = None
    if override is None or not override.key_or_group:
        raise UserError(
            f"{text}: cannot be read; expected key=value, or 'key=\"value\"' where the value holds "
            "special characters"
        )
    return override


def _swept(override: Override) -> list[Any]:
    try:
        values = list(override.sweep_string_iterator())
    except HydraException:
        values = []
    if not values:
        raise UserError(
            f"{override.input_line}: has no values that can be counted; expected a sweep such as "
            f"{override.key_or_group}=a,b or range(3)"
        )
    return values
