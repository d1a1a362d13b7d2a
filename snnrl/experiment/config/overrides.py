"""Checks of a command line's overrides, each by itself, and the jobs of a sweep."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.config import facts, plugins
from snnrl.experiment.config.choice_files import (
    CONFIG_DIR,
    SEARCH_PATH,
    choices,
    environment_ids,
    files,
    use_folder,
)
from snnrl.experiment.config.nodes import (
    ROOTS,
    TRAIN,
    Root,
    add_choice_without_file,
    setting_types,
)
from snnrl.experiment.config.suggest import (
    suggest_choice,
    suggest_environment,
    suggest_number,
    suggest_option,
    suggest_setting,
)

ARGUMENTS = "env.kwargs."
"""Prefixes of settings that only the environment can check."""

HOLDS_INTEGERS = (int, int | None, int | str | None, list[int])


def check_overrides(texts: Iterable[str], root: Root = TRAIN) -> list[str]:
    """Check every override of a command line; exact duplicates are merged.

    :param root: the command
    :return: the overrides, as :func:`check_override` writes them
    :raises UserError: unknown group choice or key, or two values for one setting, where Hydra would
        take the last
    """
    texts = list(texts)
    load_extensions(texts)
    checked = list(dict.fromkeys(check_override(text, root) for text in texts))
    _check_launcher_options(checked)
    first: dict[tuple[str, str | None], str] = {}
    for text in checked:
        override = _parse(text)
        if override.key_or_group.startswith("hydra.sweeper.params"):
            raise UserError(
                f"{text.lstrip('+')}: would be swept unchecked; expected key=a,b with -m"
            )
        other = first.setdefault((override.key_or_group, override.package), text)
        if other is not text:
            key = override.get_key_element().lstrip("+~")
            raise UserError(
                f"{other} and {text}: two values for one setting; expected one of them, or "
                f"-m {key}=a,b for a run with each"
            )
    return checked


def check_override(text: str, root: Root = TRAIN) -> str:
    """Check an override's key or group choice, and write integral floats as integers.

    :param root: the command
    :return: the override, ``total_steps=1e6`` as ``total_steps=1000000``
    :raises UserError: unknown group choice or key
    """
    override = _parse(text)
    key = override.key_or_group
    if override.is_hydra_override():
        return text
    if override.is_delete():
        raise UserError(f"{text}: a setting cannot be removed; expected key=value")
    if key in root.choices():
        _check_place(override, root)
        _check_choice(override)
        return text
    if f"{key}.".startswith(ARGUMENTS) and "env" in root.groups():
        # Hydra adds keys missing from a configuration only if told to.
        return f"++{text.lstrip('+')}"
    _check_key(key, root)
    kind = setting_types(root)[key]
    if kind not in HOLDS_INTEGERS:
        return text
    if kind != list[int]:
        _check_whole_number(text)
    return _integral(text)


def is_sweep(override: str) -> bool:
    """Return whether an override has more than one value, as in ``seed=0,1``."""
    return _parse(override).is_sweep_override()


def expand(overrides: Iterable[str]) -> Iterator[list[str]]:
    """Return every job of a sweep: ``["seed=0,1"]`` -> ``["seed=0"]``, ``["seed=1"]``.

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


def load_extensions(overrides: list[str]) -> list[str]:
    """Import the plugins and add the folders that a command line names.

    :return: the plugins
    :raises UserError: one is not a list, cannot be imported, or is not a folder
    """
    for place in list_value(overrides, SEARCH_PATH):
        scheme, _, rest = place.rpartition("://")
        if scheme not in ("", "file"):
            raise UserError(f"{SEARCH_PATH}: {place} is not a folder; expected file:///folder")
        use_folder(Path(rest))
    named = list_value(overrides, plugins.KEY)
    plugins.load(named)
    for group, choice in plugins.registered():
        if choice not in files(group):
            add_choice_without_file(group, choice)
    return named


def _check_launcher_options(texts: Iterable[str]) -> None:
    """Check that the chosen launcher has the options that are given it; those of a launcher of the
    user's own are Hydra's concern."""
    given = [_parse(text) for text in texts]
    launchers = [str(o.value()) for o in given if o.key_or_group == "hydra/launcher"]
    launcher = launchers[0] if launchers else "basic"
    folder = CONFIG_DIR / "hydra" / "launcher"
    options_of = {
        file.stem: [str(key) for key in load_yaml(file) if key != "_target_"]
        for file in sorted(folder.glob("*.yaml"))
    }
    if launcher not in ("basic", *options_of):
        return
    for override in given:
        prefix, _, name = override.key_or_group.rpartition(".")
        if prefix == "hydra.launcher" and name not in options_of.get(launcher, []):
            said = suggest_option(launcher, name, options_of)
            raise UserError(f"{override.key_or_group}: {said}")


def load_yaml(file: Path) -> dict[str, Any]:
    """Return a configuration file of one level."""
    values = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def list_value(overrides: list[str], key: str) -> list[str]:
    """Return the list that the overrides give a setting; empty if they do not.

    :raises UserError: the value is not one list for all runs
    """
    for text in overrides:
        if not re.match(rf"\+*{re.escape(key)}=", text):
            continue
        override = _parse(text)
        value = None if override.is_sweep_override() else override.value()
        if not isinstance(value, list):
            raise UserError(f"{text}: expected one list for all runs, such as {key}=[one,other]")
        return [str(item) for item in value]
    return []


def _check_place(override: Override, root: Root) -> None:
    key, place, known = override.key_or_group, override.package, root.places()
    if place is not None and known.get(place) != key:
        places = [f"{group}@{at}=..." for at, group in known.items() if group == key]
        raise UserError(f"{key}@{place}: expected {' or '.join([f'{key}=...', *places])}")


def _check_choice(override: Override) -> None:
    key = override.key_or_group
    values = _swept(override) if override.is_sweep_override() else [override.value()]
    place = f"@{override.package}" if override.package else ""
    for value in values:
        name = "null" if value is None else str(value)
        if name in choices(key):
            continue
        if key == "experiment" and name == "null":
            # It is the default, and Hydra has no syntax for it.
            raise UserError("experiment=null: expected a choice; leave it out for none")
        if key == "env" and (hint := suggest_environment(name, environment_ids())) is not None:
            raise UserError(f"env={name}: no such choice{hint}")
        hint = suggest_choice(key, name, choices(key))
        if not hint and key in facts.components():
            hint = "; one of your own comes with plugins=[its.module]"
        raise UserError(f"{key}{place}={name}: expected one of {', '.join(choices(key))}{hint}")


def _check_key(key: str, root: Root) -> None:
    known, places, choosable = setting_types(root), root.places(), root.choices()
    group, _, name = key.rpartition(".")
    if key in places:
        raise UserError(f"{key}: expected {places[key]}@{key}=...")
    if name == "name" and (group in choosable or group in places):
        choice = f"{places[group]}@{group}" if group in places else group
        raise UserError(f"{key}: follows from the choice; expected {choice}=...")
    if key in known:
        return
    elsewhere = next((r for r in ROOTS.values() if key in (*setting_types(r), *r.choices())), None)
    if elsewhere is not None:
        raise UserError(
            f"{key}: is a setting of python -m snnrl.{elsewhere.name}; python -m "
            f"snnrl.{root.name} has {', '.join(choosable)} and those of --help"
        )
    raise UserError(f"{key}: no such setting{suggest_setting(key, known, choosable)}")


def _check_whole_number(text: str) -> None:
    key, _, value = text.partition("=")
    if hint := suggest_number(key, value.strip().strip("'\"")):
        raise UserError(f"{text}: expected an integer{hint}")


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
        _check_whole_number(text)
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
            f"{override.input_line}: has values that cannot be enumerated; expected a sweep such "
            "as "
            f"{override.key_or_group}=a,b or range(3)"
        )
    return values
