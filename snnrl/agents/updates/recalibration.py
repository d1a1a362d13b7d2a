"""The callback that re-calibrates an agent after an update, before evaluations."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback


class Recalibration(BaseCallback):
    """Re-calibrates the agent's spiking networks, each at its ``bn.recalibrate_every``.

    The agent puts it before the user's callbacks. So an evaluation or a checkpoint at the same step
    uses the new statistics. Both happen at the start of a rollout, which is after the update, or at
    the end of training.
    """

    def _on_training_start(self) -> None:
        # ``learn`` may have reset its count of steps.
        done: dict[str, int] = self.model.recalibrated_at  # type: ignore[attr-defined]
        for name, step in done.items():
            done[name] = min(step, self.model.num_timesteps)

    def _on_rollout_start(self) -> None:
        self._recalibrate_if_due()

    def _on_training_end(self) -> None:
        self._recalibrate_if_due()

    def _on_step(self) -> bool:
        return True

    def _recalibrate_if_due(self) -> None:
        if due := self.model.recalibration_due():  # type: ignore[attr-defined]
            self.model.recalibrate(due)  # type: ignore[attr-defined]
