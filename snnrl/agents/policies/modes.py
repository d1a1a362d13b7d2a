"""Quick switching between training and evaluation mode, for agents that learn from replay."""

from __future__ import annotations

from collections.abc import Callable

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn

from snnrl.nn.structure import Structure

Pass = Callable[[PyTorchObs, bool], Tensor]


class QuickModes(BasePolicy):
    """A mixin for the policies of TD3, DDPG, SAC and DQN: list it before Stable-Baselines3's.

    Stable-Baselines3 switches modes three times per environment step. Torch's ``train`` walks
    through every module, which takes a quarter of the time of an action. Here the modules are
    collected once, and again when one is replaced. If a module overrides ``train``, torch's walk is
    used.

    ``decide``, if set, replaces the pass in ``predict``. Its arguments are the usual pass, the
    observations and whether to act deterministically; it returns the actions.
    """

    _switched: list[nn.Module] | None = None
    _structure: Structure | None = None
    decide: Callable[[Pass, PyTorchObs, bool], Tensor] | None = None

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        usual: Pass = super()._predict  # type: ignore[safe-super]
        if self.decide is None:
            return usual(observation, deterministic)
        return self.decide(usual, observation, deterministic)

    def set_training_mode(self, mode: bool) -> None:
        """Set the mode of the networks that learn; targets stay in evaluation mode."""
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
            # nn.Module's own would look for parameters and buffers of that name.
            object.__setattr__(module, "training", mode)
