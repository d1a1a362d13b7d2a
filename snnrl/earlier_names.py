"""Earlier names of modules, to which pickles refer: saved agents, checkpoints, queued jobs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


class EarlierModule(ModuleType):
    """A module under its earlier name: it has the present one's attributes, imported when accessed.

    :param name: earlier name of the module
    :param present: its name now
    :param renamed: earlier name of a class -> its name now
    """

    def __init__(self, name: str, present: str, renamed: Mapping[str, str]):
        super().__init__(name)
        self._present = present
        self._renamed = renamed

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # It has no file of its own: ``inspect`` would take it for the module of that file.
            raise AttributeError(name)
        return getattr(import_module(self._present), self._renamed.get(name, name))


def install(
    package: str, modules: Mapping[str, str], renamed: Mapping[str, str] | None = None
) -> None:
    """Let ``import`` and ``pickle`` find modules of a package under their earlier names.

    :param modules: earlier name in the package -> name in the package now
    :param renamed: earlier name of a class in these modules -> its name now
    """
    for earlier, present in modules.items():
        name = f"{package}.{earlier}"
        sys.modules[name] = EarlierModule(name, f"{package}.{present}", renamed or {})
