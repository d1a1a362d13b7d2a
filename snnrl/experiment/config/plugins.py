"""Modules that register a user's own components: ``plugins=[my_lab.spiking]``.

Importing one runs its code, so only modules named on the command line are imported.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from omegaconf import DictConfig

from snnrl.errors import UserError
from snnrl.experiment.config import facts, nodes
from snnrl.text import one_line

KEY = "plugins"

_plugins_of: dict[tuple[str, str], list[str]] = {}
"""Group and choice -> the plugins whose import registers it."""

_loaded: set[str] = set()


def load(modules: Iterable[str]) -> None:
    """Import modules, so that the components they register can be chosen.

    :raises UserError: one cannot be imported, or registers a component that no command line could
        set
    """
    for module in modules:
        if module in _loaded:
            continue
        if not all(part.isidentifier() for part in module.split(".")):
            raise UserError(f"{KEY}=[{module}]: expected names of modules, such as my_lab.spiking")
        try:
            import_module(module)
            _add_registered(module)
        except UserError as problem:
            raise UserError(f"{KEY}=[{module}]: {problem}") from problem
        except Exception as problem:  # Their code may raise anything.
            reason = f"{type(problem).__name__}: {one_line(problem)}"
            raise UserError(f"{KEY}=[{module}]: cannot be imported ({reason})") from problem
        _loaded.add(module)


def loaded(config: Mapping[str, Any]) -> list[str]:
    """Return the plugins of a recorded configuration that are imported here.

    :param config: ``config.yaml``, nested, from any source
    """
    named = config.get(KEY)
    return [name for name in named if name in _loaded] if isinstance(named, list) else []


def registered() -> list[tuple[str, str]]:
    """Return group and name of each choice that a plugin registered."""
    return list(_plugins_of)


def check_plugins(cfg: DictConfig, places: Mapping[str, str]) -> None:
    """Check that a configuration names the plugins of its components.

    :param places: further places of a group, such as ``critic.bn``
    :raises UserError: one is not named
    """
    for place, group in {**{group: group for group in nodes.BASES}, **places}.items():
        node = cfg
        for part in place.split("."):
            node = node.get(part) if node is not None else None
        bringing = _plugins_of.get((group, node.name), []) if node is not None else []
        if bringing and not set(bringing) & set(cfg[KEY]):
            either = " or ".join(f"{KEY}=[{plugin}]" for plugin in bringing)
            raise UserError(
                f"{group}={node.name}: comes with {either}; expected that on the command line"
            )


def check_named(config: Mapping[str, Any], named: Collection[str]) -> None:
    """Check that the user has named a recorded configuration's plugins, because their code will
    run.

    :param config: ``config.yaml``, nested, from any source
    :param named: modules that the user has named
    :raises UserError: one is not named
    """
    plugins = config.get(KEY, [])
    if not (isinstance(plugins, list) and all(isinstance(name, str) for name in plugins)):
        raise UserError(f"{KEY}={one_line(plugins)}: expected a list of modules")
    for module in plugins:
        if module not in named:
            raise UserError(
                f"{KEY}: {one_line(module)} would run; if you trust its code, name it: "
                f"--module {one_line(module)}"
            )


def _add_registered(plugin: str) -> None:
    # These import torch, which a command without plugins may not need.
    from snnrl.experiment.config.describe import describe
    from snnrl.nn.registry import GROUPS, component, names

    known = facts.components()
    # All are described before any is added: a faulty one leaves nothing behind.
    new = {
        (group, name): describe(kind, name)
        for kind, group in GROUPS.items()
        for name in names(kind)
        if name not in known[group]
    }
    for (group, name), described in new.items():
        facts.add(group, name, described)
        nodes.add_choice(group, name)
        _plugins_of[group, name] = [plugin]
    # Python imports a module once, so another plugin may have registered what this one brings too.
    for kind, group in GROUPS.items():
        for name in known[group]:
            bringing = _plugins_of.get((group, name), [plugin])
            if plugin not in bringing and _imports(plugin, component(kind, name).maker.__module__):
                bringing.append(plugin)


def _imports(plugin: str, module: str) -> bool:
    """Return whether importing a plugin imports a module, directly or through the modules of either
    one's package."""
    packages = {plugin.partition(".")[0], module.partition(".")[0]}
    seen, pending = set(), [plugin]
    while pending:
        name = pending.pop()
        if name == module:
            return True
        if name in seen or name.partition(".")[0] not in packages:
            continue
        seen.add(name)
        pending.append(name.rpartition(".")[0])
        for value in vars(sys.modules[name]).values():
            own = isinstance(value, ModuleType)
            found = value.__name__ if own else getattr(value, "__module__", None)
            if isinstance(found, str) and found in sys.modules:
                pending.append(found)
    return False
