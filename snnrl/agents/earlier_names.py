"""Modules and classes by their earlier names, which saved agents and checkpoints hold."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

MODULES = {
    "actor": "policies.actors",
    "actor_critic": "policies.on_policy",
    "buffers": "replay.buffer",
    "captured": "updates.cuda_graphs",
    "critic": "policies.critics",
    "features": "policies.features",
    "fixed": "updates.frozen",
    "followers": "updates.targets",
    "losses": "updates.loss_log",
    "modes": "policies.modes",
    "optimizers": "updates.optimizers",
    "part": "policies.part",
    "precision": "updates.precision",
    "recalibration": "updates.recalibration",
    "resident": "replay.on_device",
    "spiking": "policies.options",
}
"""Earlier name in ``snnrl.agents`` -> where its content is now."""

CLASSES = {
    "Fixed": "Frozen",
    "Followers": "TargetNetworks",
    "Losses": "LossLog",
    "ResidentTransitions": "OnDeviceTransitions",
}


class EarlierModule(ModuleType):
    """A module by its earlier name: has what the present one has.

    :param name: earlier name of the module
    :param present: its name now
    """

    def __init__(self, name: str, present: str):
        super().__init__(name)
        self._present = present

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # It has no file of its own: ``inspect`` would take it for the module of that file.
            raise AttributeError(name)
        return getattr(import_module(self._present), CLASSES.get(name, name))


def install(package: str) -> None:
    """Let ``import`` and ``pickle`` find the modules of ``package`` by their earlier names."""
    for earlier, present in MODULES.items():
        name = f"{package}.{earlier}"
        sys.modules[name] = EarlierModule(name, f"{package}.{present}")
