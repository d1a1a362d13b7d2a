"""Switching a policy between training and evaluation without walking through its modules."""

from __future__ import annotations

from stable_baselines3.common.policies import BasePolicy
from torch import nn

from snnrl.nn.structure import Structure


class QuickModes(BasePolicy):
    """Mixed into the policies of TD3, DDPG, SAC and DQN, in front of Stable-Baselines3's.

    Stable-Baselines3 switches three times in an environment step, and torch's ``train`` walks
    through every module: a quarter of the time of an action. Here the modules are collected once,
    and again where one was replaced, and each is set, whatever its mode was. Modules that switch in
    a way of their own make it the usual walk.
    """

    _switched: list[nn.Module] | None = None
    _structure: Structure | None = None

    def set_training_mode(self, mode: bool) -> None:
        """Set the mode of what learns; targets stay in evaluation mode."""
        if self._switched is None or self._structure is None or not self._structure.is_current():
            networks = [getattr(self, name, None) for name in ("actor", "critic", "q_net")]
            found = [network for network in networks if network is not None]
            self._structure = Structure(*found)
            modules = self._structure.modules
            plain = all(type(module).train is nn.Module.train for module in modules)
            self._switched = [self, *modules] if plain else []
        if not self._switched:
            super().set_training_mode(mode)
            return
        for module in self._switched:
            # Past nn.Module's own, which looks for parameters and buffers of that name.
            object.__setattr__(module, "training", mode)
