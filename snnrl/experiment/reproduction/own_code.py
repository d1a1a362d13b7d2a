"""Source of a run's own code: its plugins, its environment, and what they import.

A package that was installed as a copy is known by its version, and this package by its revision.
Every other module can change without either, so a run records the SHA-256 of its source.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.config.plugins import KEY
from snnrl.imports import installed_versions, is_own
from snnrl.run_format.provenance import SOURCES, own_sources, read_provenance

INIT = "__init__"

NAMED = 3
"""Modules that a line names before it only counts."""


class Code(NamedTuple):
    """What a run's code is known by.

    :param plugins: SHA-256 of the source of each plugin: its file, or all files of a package
    :param further: the same of the other own modules
    :param versions: of installed packages that bring the environment, by distribution
    """

    plugins: dict[str, str]
    further: dict[str, str]
    versions: dict[str, str]

    def all(self) -> dict[str, str]:
        """Return the digests of all own modules, the plugins first."""
        return {**self.plugins, **self.further}


def code_of(plugins: Iterable[str], config: DictConfig | Mapping[str, Any]) -> Code:
    """Return what the code of a run is known by here. Nothing is imported.

    :param plugins: modules of its components
    :param config: its configuration, nested, from any source
    :raises UserError: a plugin has no file
    """
    if isinstance(config, DictConfig):
        config = {"env": OmegaConf.to_container(config.env)} if "env" in config else {}
    digests = {module: _digest(module) for module in plugins}
    named = [*digests, *_environment_modules(config.get("env"))]
    own = _with_imports([name for name in named if is_own(name) and _file_of(name) is not None])
    others = [name for name in named if not is_own(name)]
    versions = {k: v for name in others for k, v in installed_versions(name).items()}
    return Code(digests, {k: v for k, v in own.items() if k not in digests}, versions)


class Changes(NamedTuple):
    """Own modules here, compared with the record of a start.

    :param changed: of another source, the plugins first
    :param unknown: of which the record says nothing, as an earlier version wrote it
    """

    changed: list[str]
    unknown: list[str]


def changes(then: Mapping[str, Any], now: Code) -> Changes:
    """Compare the own modules here with a record.

    A record of an earlier version has plugins only.

    :param then: see :func:`snnrl.run_format.provenance.read_provenance`
    """
    known, here = own_sources(then), now.all()
    unknown = [name for name in here if name not in known and SOURCES not in then]
    changed = [name for name in here if name not in unknown and known.get(name) != here[name]]
    return Changes(changed, unknown)


def check_unchanged(then: Mapping[str, Any], now: Code, folder: Path) -> None:
    """Check that the own code is that of a run's last start; print what is not known.

    :param then: record of that start
    :param folder: run folder
    :raises UserError: a module has changed
    """
    found = changes(then, now)
    for name in found.changed:
        key = f"{KEY}: " if name in now.plugins else ""
        raise UserError(
            f"{key}the source of {name} has changed since {folder} was trained; expected the "
            "earlier source, or another results_dir"
        )
    if found.unknown:
        print(f"{folder}: {_not_recorded(found.unknown)}")


def changes_since(folder: Path, cfg: DictConfig) -> Iterator[str]:
    """Yield a line for own modules whose source is not that of a run, and one for those of which
    that is unknown.

    :param folder: run folder
    :param cfg: its configuration, of which plugins and environment are imported by now
    :raises UserError: the run has own modules, and its record cannot be read
    """
    now = code_of(cfg.plugins, cfg)
    if not now.all():
        return
    found = changes((read_provenance(folder) or [{}])[-1], now)
    if found.changed:
        yield (
            f"the source of {_names(found.changed)} is not that of the run, so this may be "
            "another agent or another environment"
        )
    if found.unknown:
        yield _not_recorded(found.unknown)


def _names(modules: Sequence[str]) -> str:
    more = f" and {len(modules) - NAMED} more" if len(modules) > NAMED else ""
    return f"{', '.join(modules[:NAMED])}{more}"


def _not_recorded(modules: Sequence[str]) -> str:
    return (
        f"the source of {_names(modules)} was not recorded by the version that made the run, so "
        "it may be another one here"
    )


def _environment_modules(env: Any) -> Iterator[str]:
    """Yield the modules that making an environment imports.

    :param env: the group of settings, from any source
    """
    if not isinstance(env, Mapping):
        return
    wrappers = env.get("wrappers")
    given = [env.get("id"), *(wrappers if isinstance(wrappers, list) else [])]
    names = [each.get("name") if isinstance(each, Mapping) else each for each in given]
    for number, name in enumerate(names):
        if not isinstance(name, str):
            continue
        module, colon, entry = name.rpartition(":") if number == 0 else name.partition(":")
        if colon and all(part.isidentifier() for part in module.split(".")):
            yield module
        if number == 0:
            yield from _registering(entry)


def _registering(env_id: str) -> Iterator[str]:
    """Yield the module of the class that is registered for an id, if it is registered by now."""
    gymnasium = sys.modules.get("gymnasium")
    spec = None if gymnasium is None else gymnasium.registry.get(env_id)
    entry = None if spec is None else spec.entry_point
    module = getattr(entry, "__module__", "")
    if isinstance(entry, str):
        module = entry.partition(":")[0]
    if module and module.partition(".")[0] != "gymnasium":
        yield module


def _with_imports(modules: Iterable[str]) -> dict[str, str]:
    """Return the digests of own modules, and then of the own modules that they import, by name.

    Of a package that is only imported from, its ``__init__`` counts.
    """
    named = list(dict.fromkeys(modules))
    packages = [name for name in named if _is_package(name)]
    found = {name: _digest(name) for name in named}
    pending = [(name, file) for name in named for file in _files_of(name)]
    while pending:
        module, file = pending.pop()
        for name in _imported(module, file):
            inside = any(f"{name}.".startswith(f"{package}.") for package in packages)
            path = None if inside or not is_own(name) else _file_of(name)
            if path is None:
                continue
            key = f"{name}.{INIT}" if path.stem == INIT else name
            if key not in found and name not in found:
                found[key] = _digest_of([path])
                pending.append((name, path))
    return found


def _imported(module: str, file: Path) -> Iterator[str]:
    """Yield the names that a file imports, of modules and of what is in them, and the packages
    that come before.

    :param module: its own name
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # Compiled, or a stranger's.
        return
    package = module.split(".") if file.stem == INIT else module.split(".")[:-1]
    names = [module]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    for name in dict.fromkeys(names):
        parts = name.split(".")
        yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _file_of(module: str) -> Path | None:
    """Return the file of a module; ``None`` if it has none, or is none."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded is not None:
        return Path(loaded)
    top, *rest = module.split(".")
    spec = PathFinder.find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.has_location and spec.origin else None
    for place in spec.submodule_search_locations or ():
        base = Path(place, *rest)
        for file in (base / f"{INIT}.py", base.with_name(f"{base.name}.py")):
            if file.is_file():
                return file
    return None


def _is_package(module: str) -> bool:
    file = _file_of(module)
    return file is not None and file.stem == INIT


def _files_of(module: str) -> list[Path]:
    """Return the file of a module, or all files of a package.

    :raises UserError: it has none
    """
    file = _file_of(module)
    if file is None:
        raise UserError(
            f"{KEY}=[{module}]: has no file; expected a module, or a package with __init__"
        )
    return sorted(file.parent.rglob("*.py")) if file.stem == INIT else [file]


def _digest(module: str) -> str:
    return _digest_of(_files_of(module))


def _digest_of(files: list[Path]) -> str:
    """Return the SHA-256 of the names and the content of files, which are in one folder."""
    top = min((path.parent for path in files), key=lambda folder: len(folder.parts))
    content = hashlib.sha256()
    for path in files:
        content.update(f"{path.relative_to(top)}\0".encode())
        content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()
