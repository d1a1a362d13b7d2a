"""Base class of agents that learn from minibatches: gradient steps of a part, re-calibration."""

from __future__ import annotations

from typing import ClassVar

import torch
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from torch import Tensor

from snnrl.agents.base import SpikingAgent
from snnrl.agents.updates.recalibration import Recalibration
from snnrl.nn.norm import recalibrating
from snnrl.seeds import Independent


class MinibatchAgent(SpikingAgent):
    """A mixin for algorithms that learn from minibatches of what they keep.

    If the normalisation strategy re-calibrates, ``learn`` does so every ``recalibrate_every``
    steps, after the update. The data come from what the agent learns from, drawn with separate
    generators.
    """

    loss_names: ClassVar[dict[str, str]] = {}
    """Names in the log of parts' losses that are not ``train/<part>_loss``."""

    batch_size: int

    def has_experience(self) -> bool:
        """Return whether there is anything to learn from yet."""
        raise NotImplementedError

    def seed_recalibration(self, seeding: Independent) -> None:
        """Give the re-calibration of each part a new generator."""
        self.recalibration_generators = {
            name: seeding.stream(self.seed, f"recalibration/{name}")
            for name in ("actor", "q_network", "critic")
        }

    def _learn(
        self,
        part: str,
        optimizer: torch.optim.Optimizer,
        loss: Tensor,
        max_grad_norm: float | None = None,
    ) -> None:
        """Take one gradient step on the loss of a part and its terms, and log both.

        :param part: ``actor``, ``critic``, ``q_network``, or SAC's ``ent_coef``
        :param loss: scalar
        :param max_grad_norm: as in :meth:`_step`
        """
        terms = self._take_terms(part)
        self._step(optimizer, loss if terms is None else loss + terms, max_grad_norm)
        self._keep_loss(self.loss_names.get(part, f"train/{part}_loss"), loss)

    def recalibration_due(self) -> list[str]:
        """Return the parts whose strategy asks for a re-calibration at this step."""
        if not self.has_experience():
            return []
        return [
            name
            for name, part in self.parts().items()
            if isinstance(every := part.norm.recalibrate_every, int)
            and self.num_timesteps // every > self.recalibrated_at.get(name, 0) // every
        ]

    def recalibrate(self, names: list[str] | None = None) -> None:
        """Replace moving statistics by those pooled over minibatches.

        Each part sees ``recalibrate_batches`` minibatches of the training batch size; see
        :func:`snnrl.nn.norm.recalibrating`. The replaced statistics are kept to measure their
        error.

        :param names: the parts; all spiking ones if not given
        """
        for name in self.parts() if names is None else names:
            part = self.parts()[name]
            generator = self.recalibration_generators[name]
            self.keep_statistics(name)
            with recalibrating(part):
                for _ in range(part.norm.recalibrate_batches):
                    inputs = self.sample_inputs(name, self.batch_size, generator)
                    if inputs is not None:
                        part(*inputs)

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        given = callback if isinstance(callback, list) else [callback]
        callbacks = [c if isinstance(c, BaseCallback) else ConvertCallback(c) for c in given]
        return super()._init_callback([Recalibration(), *callbacks], progress_bar)
