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
from snnrl.errors import UserError, nearest
from snnrl.experiment.schema import NODES, register

_PACKAGE = Path(snnrl.__file__).parent
CONFIG_DIR = next(d for d in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if d.is_dir())
"""Beside the package in an installed wheel, at the top of a checkout otherwise."""

GROUPS = (*NODES, "experiment")


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
            return compose("train", overrides=overrides)
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return compose("train", overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error, overrides) from None


def expand(overrides: Iterable[str]) -> Iterator[list[str]]:
    """Every job of a sweep: ``["seed=0,1"]`` -> ``["seed=0"]``, ``["seed=1"]``.

    :raises UserError: an override that cannot be read
    """
    alternatives = []
    for text in overrides:
        override = _parse(text)
        swept = override.is_sweep_override()
        values = override.sweep_string_iterator() if swept else ()
        alternatives.append(
            [f"{override.get_key_element()}={value}" for value in values] if swept else [text]
        )
    for combination in itertools.product(*alternatives):
        yield list(combination)


def check_overrides(overrides: Iterable[str]) -> list[str]:
    """Check every override's key or group choice, and write integral floats as integers.

    :return: the overrides, ``total_steps=1e6`` as ``total_steps=1000000``
    :raises UserError: unknown group choice or key
    """
    defaults = compose_config()
    return [_check(text, defaults) for text in overrides]


def _check(text: str, defaults: DictConfig) -> str:
    override = _parse(text)
    key = override.key_or_group
    if key.startswith("hydra") or override.is_delete():
        return text
    if key in GROUPS:
        for value in _values(override):
            if value is not None and str(value) not in choices(key):
                names = choices(key)
                raise UserError(
                    f"{key}={value}: expected one of {', '.join(names)}{nearest(str(value), names)}"
                )
        return text
    if not (override.is_add() or override.is_force_add()):
        _check_key(key)
    if isinstance(OmegaConf.select(defaults, key), int) or key in _INTEGER_KEYS:
        return _integral(text)
    return text


_INTEGER_KEYS = ("bn.recalibrate_every",)


def _integral(text: str) -> str:
    def as_integer(match: re.Match[str]) -> str:
        value = float(match[0])
        return str(int(value)) if value.is_integer() else match[0]

    key, _, values = text.partition("=")
    return f"{key}={re.sub(r'[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?', as_integer, values)}"


def _check_key(key: str) -> None:
    known = all_keys()
    if key not in known:
        short = key.rsplit(".", 1)[-1]
        by_name = [k for k in known if k.rsplit(".", 1)[-1] == short]
        hint = f"; did you mean '{by_name[0]}'?" if by_name else nearest(key, known)
        raise UserError(f"{key}: no such setting{hint or '; --help lists all'}")


def all_keys() -> list[str]:
    """Every dotted key that some choice of the groups has."""
    keys: set[str] = set(GROUPS)

    def walk(node: Any, prefix: str) -> None:
        for name, child in node.items():
            keys.add(prefix + name)
            if isinstance(child, dict):
                walk(child, f"{prefix}{name}.")

    walk(OmegaConf.to_container(compose_config()), "")
    for group, nodes in NODES.items():
        for node in nodes.values():
            keys |= {f"{group}.{name}" for name in node.__dataclass_fields__}  # type: ignore[attr-defined]
    return sorted(keys)


def _parse(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        raise UserError(f"{text}: cannot be read; expected key=value") from None


def _values(override: Override) -> list[Any]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    value = override.value()
    return value if isinstance(value, list) else [value]


def _explain(error: BaseException, overrides: list[str]) -> UserError:
    """One line from Hydra's chain of exceptions, which names the key in its innermost."""
    innermost = error
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
    key = getattr(innermost, "full_key", None)
    text = str(getattr(innermost, "msg", None) or innermost).split("\n")[0]
    if key and (
        m := re.match(r"Value '(.*)' of type '(\w+)' could not be converted to (\w+)", text)
    ):
        value, _, expected = m.groups()
        words = {"Integer": "an integer", "Float": "a number", "Boolean": "true or false"}
        return UserError(f"{key}={value}: expected {words.get(expected, expected)}")
    if key and re.match(r"Key '\w+' (is )?not in", text):
        group = key.split(".")[0]
        known = [k for k in all_keys() if k.startswith(group + ".")]
        given = next((o.split("=")[1] for o in overrides if o.startswith(group + "=")), "")
        where = f" of {group}={given}" if given else ""
        return UserError(
            f"{key}: not a setting{where}{nearest(key, [k for k in known if k != key])}"
        )
    return UserError(f"{key}: {text}" if key else text)
