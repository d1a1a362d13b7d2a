"""Compose a checked configuration from command-line overrides, with errors that name the key."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import snnrl
from snnrl.errors import UserError, nearest
from snnrl.experiment.config import facts, plugins
from snnrl.experiment.config.nodes import (
    NODES,
    ROOTS,
    TRAIN,
    Root,
    add_choice_without_file,
    register,
    setting_types,
)
from snnrl.experiment.config.schema import PLACES
from snnrl.experiment.config.suggest import (
    suggest_choice,
    suggest_environment,
    suggest_number,
    suggest_setting,
)
from snnrl.experiment.config.written import written

_PACKAGE = Path(snnrl.__file__).parent
CONFIG_DIR = next(d for d in (_PACKAGE / "configs", _PACKAGE.parent / "configs") if d.is_dir())
"""Beside the package in an installed wheel, at the top of a checkout otherwise."""

ARGUMENTS = "env.kwargs."
"""Prefixes of settings that only the environment can check."""

HOLDS_INTEGERS = (int, int | None, int | str | None, list[int])


SEARCH_PATH = "hydra.searchpath"
"""Hydra's setting for further configuration folders."""

_own_folders: list[Path] = []


def use_folder(folder: Path) -> None:
    """Add a user's folder of choices; those of the package take precedence.

    :raises UserError: not a folder
    """
    if not folder.is_dir():
        raise UserError(f"{SEARCH_PATH}: {folder} is not a folder; expected one like configs/")
    if folder.absolute() not in _own_folders:
        _own_folders.append(folder.absolute())
        environment_choice.cache_clear()


def choices(group: str) -> list[str]:
    """Return the names that ``group=...`` accepts; names that begin with ``_`` are parts of
    others."""
    names = {*_files(group), *facts.components().get(group, {})}
    return sorted(name for name in names if not name.startswith("_"))


def _files(group: str) -> dict[str, Path]:
    """Return the files of a group's choices by name."""
    return {
        path.relative_to(folder / group).with_suffix("").as_posix(): path
        for folder in reversed((CONFIG_DIR, *_own_folders))
        for path in (folder / group).rglob("*.yaml")
    }


@cache
def environment_choice(env_id: str, observation: str) -> str | None:
    """Return the choice of the group ``env`` for this environment; ``None`` for others."""
    for choice, env in _environments():
        if (env.get("id"), env.get("observation", "default")) == (env_id, observation):
            return choice
    return None


def _environments() -> Iterator[tuple[str, DictConfig]]:
    for choice, file in sorted(_files("env").items()):
        values = OmegaConf.load(file)
        assert isinstance(values, DictConfig)
        yield choice, values.get("env", values)


def _environment_ids() -> dict[str, str]:
    return {choice: str(env.get("id")) for choice, env in _environments()}


def compose_config(overrides: Iterable[str] = (), root: Root = TRAIN) -> DictConfig:
    """Compose one configuration, checked only for its types.

    :param overrides: overrides as on the command line, without sweeps
    :param root: the command
    :raises UserError: unknown group choice, unknown key or wrong type
    """
    overrides = list(overrides)
    named = _load_extensions(overrides)
    with _hydra(), _settings_of_places(overrides):
        cfg = compose(root.name, overrides=[*overrides, *_search_path(overrides)])
        OmegaConf.resolve(cfg)
        _make_floats(cfg)
    for place in PLACES:
        part, _, name = place.rpartition(".")
        if OmegaConf.select(cfg, f"{place}.name") == "none" and _is_optional(cfg[part], name):
            # An empty place is written in one way.
            cfg[part][name] = None
    if list(cfg.plugins) != named:
        raise UserError(f"plugins={cfg.plugins}: expected on the command line, not in a file")
    return cfg


def _make_floats(node: DictConfig) -> None:
    """Write integers as floats where a number or a word is expected, as OmegaConf does by itself
    where only a number is."""
    typed: Any = OmegaConf.get_type(node)
    for field in fields(typed) if is_dataclass(typed) else ():
        if OmegaConf.is_missing(node, field.name):
            continue
        value = node[field.name]
        if isinstance(value, DictConfig):
            _make_floats(value)
        elif field.metadata.get("floats") and isinstance(value, int):
            node[field.name] = float(value)


def _load_extensions(overrides: list[str]) -> list[str]:
    """Import the plugins and add the folders that a command line names.

    :return: the plugins
    :raises UserError: one is not a list, cannot be imported, or is not a folder
    """
    for place in _list_value(overrides, SEARCH_PATH):
        scheme, _, rest = place.rpartition("://")
        if scheme not in ("", "file"):
            raise UserError(f"{SEARCH_PATH}: {place} is not a folder; expected file:///folder")
        use_folder(Path(rest))
    named = _list_value(overrides, plugins.KEY)
    plugins.load(named)
    for group, choice in plugins.registered():
        if choice not in _files(group):
            add_choice_without_file(group, choice)
    return named


def _list_value(overrides: list[str], key: str) -> list[str]:
    for text in overrides:
        if not re.match(rf"\+*{re.escape(key)}=", text):
            continue
        override = _parse(text)
        value = None if override.is_sweep_override() else override.value()
        if not isinstance(value, list):
            raise UserError(f"{text}: expected one list for all runs, such as {key}=[one,other]")
        return [str(item) for item in value]
    return []


def _search_path(overrides: list[str]) -> list[str]:
    """Return the setting that tells Hydra of the folders, unless the command line has it."""
    if not _own_folders or _list_value(overrides, SEARCH_PATH):
        return []
    # Quotes keep Hydra from reading more than a path.
    return [f"{SEARCH_PATH}=[{','.join(written(f'file://{path}') for path in _own_folders)}]"]


@contextmanager
def _hydra() -> Iterator[None]:
    """Context in which configurations can be composed; an error in one becomes a single line."""
    register()
    try:
        if GlobalHydra.instance().is_initialized():
            yield
        else:
            with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
                yield
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from None


@contextmanager
def _settings_of_places(overrides: list[str]) -> Iterator[None]:
    """Context in which a setting of an empty place (``critic.bn``) is refused in one line."""
    try:
        yield
    except AssertionError:
        # Of OmegaConf, which expects a mapping where the setting is to go.
        for place, group in PLACES.items():
            for key in (text.partition("=")[0] for text in overrides):
                if key.startswith(f"{place}."):
                    raise UserError(f"{key}: expected only with {_filled(place, group)}") from None
        raise


def _filled(place: str, group: str) -> str:
    """Return the choices that fill an empty place."""
    part, _, name = place.rpartition(".")
    filled = [f"{group}@{place}=..."]
    for choice, node in NODES[part].items():
        if name in _names(node) and not _takes_null(node, name):
            filled.append(f"{part}={choice}")
    return " or ".join(filled)


def hydra_settings(overrides: Iterable[str], *keys: str, root: Root = TRAIN) -> list[str]:
    """Return Hydra's own settings under a command line.

    :param keys: keys such as ``hydra.sweep.dir``, or a group such as ``hydra/launcher`` for its
        choice
    :param root: the command
    :raises UserError: unknown group choice, unknown key or wrong type
    """
    single = [text for text in overrides if not is_sweep(text)]
    with _hydra():
        cfg = compose(root.name, overrides=single, return_hydra_config=True)
        chosen = cfg.hydra.runtime.choices
        return [str(chosen[key] if "/" in key else OmegaConf.select(cfg, key)) for key in keys]


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


def is_sweep(override: str) -> bool:
    """Return whether an override has more than one value, as in ``seed=0,1``."""
    return _parse(override).is_sweep_override()


def check_overrides(texts: Iterable[str], root: Root = TRAIN) -> list[str]:
    """Check every override of a command line; exact duplicates are merged.

    :param root: the command
    :return: the overrides, as :func:`check_override` writes them
    :raises UserError: unknown group choice or key, or two values for one setting, where Hydra would
        take the last
    """
    texts = list(texts)
    _load_extensions(texts)
    checked = list(dict.fromkeys(check_override(text, root) for text in texts))
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


def explain(error: Exception) -> UserError:
    """Return one line from Hydra's chain of exceptions: the innermost that knows the key says
    most."""
    chain: list[BaseException] = [error]
    while deeper := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(deeper)
    # Deeper ones come from Python, or from OmegaConf before it knew the key.
    innermost = next((e for e in reversed(chain) if getattr(e, "full_key", None)), chain[-1])
    key = getattr(innermost, "full_key", None)
    text = str(getattr(innermost, "msg", None) or innermost).strip().split("\n")[0]
    if match := re.match(r"Could not override '(\w+@(\w+)\.(\w+))'", text):
        choice, group, name = match.groups()
        owning = " or ".join(_owners(f"{group}.{name}"))
        return UserError(f"{choice}: expected only with {group}={owning}")
    if match := re.match(r"In '.*': Could not find '(hydra/\w+)/(\w+)'", text):
        group, choice = match.groups()
        hint = nearest(choice, choices(group)) or f"; expected {', '.join(choices(group))}"
        return UserError(f"{group}={choice}: no such choice, or not installed{hint}")
    if not key:
        return UserError(text)
    wrong_type = r"Value '(.*)' (?:of type '\w+' could not be converted to|is not a valid) (\w+)"
    if match := re.match(wrong_type, text):
        value, expected = match.groups()
        words = {"Integer": "an integer", "Float": "a number", "bool": "true or false"}
        optional = " or null" if _may_be_null(innermost) else ""
        return UserError(f"{key}={value}: expected {words.get(expected, expected)}{optional}")
    if match := re.match(r"Value '(.*)' of type '\w+' is incompatible with type hint", text):
        return UserError(f"{key}={match[1]}: expected {_expected(innermost)}")
    if "is not Optional" in text:
        return UserError(f"{key}=null: expected a value")
    if "is not a ListConfig" in text:
        example = "[FlattenObservation]" if key == "env.wrappers" else "[256,256]"
        return UserError(f"{key}: expected a list, such as {example}")
    if re.match(r"Key '\w+' (is )?not in", text) and (owners := _owners(key)):
        place = key.rpartition(".")[0]
        choice = f"{PLACES[place]}@{place}" if place in PLACES else place
        return UserError(f"{key}: expected only with {choice}={' or '.join(owners)}")
    return UserError(f"{key}: {text}")


def _expected(error: BaseException) -> str:
    """Return what the setting of several types that OmegaConf complains about expects."""
    node, name = getattr(error, "object_type", None), getattr(error, "key", None)
    field = next((f for f in fields(node) if f.name == name), None) if is_dataclass(node) else None
    if field is not None and field.metadata.get("floats"):
        return " or ".join([*field.metadata["others"], *field.metadata["choices"]])
    return "an integer or null"


def _may_be_null(error: BaseException) -> bool:
    """Return whether the setting that OmegaConf complains about is optional."""
    node, name = getattr(error, "object_type", None), getattr(error, "key", None)
    return is_dataclass(node) and _takes_null(node, str(name))


def _is_optional(node: DictConfig, name: str) -> bool:
    return _takes_null(OmegaConf.get_type(node), name)


def _takes_null(typed: Any, name: str) -> bool:
    return NoneType in get_args(get_type_hints(typed).get(name))


def _owners(key: str) -> list[str]:
    """Return the choices of a group that have a setting, or a place, which its other choices
    lack."""
    place, _, name = key.rpartition(".")
    group = PLACES.get(place, place)
    return [choice for choice, node in NODES.get(group, {}).items() if name in _names(node)]


def _names(node: type) -> set[str]:
    return {field.name for field in fields(node)} if is_dataclass(node) else set()


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
        if key == "env" and (hint := suggest_environment(name, _environment_ids())) is not None:
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
