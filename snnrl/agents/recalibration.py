"""When an agent re-calibrates: after a whole update, before anything else looks at it."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback


class Recalibration(BaseCallback):
    """Re-calibrates the agent's actor each ``bn.recalibrate_every`` environment steps.

    The agent puts it in front of the user's callbacks, so that an evaluation or a checkpoint that
    falls on the same step (at the start of a rollout, which is after the update, or at the end of
    training) finds the new statistics.
    """

    def _on_training_start(self) -> None:
        # ``learn`` may have started to count its steps anew.
        model = self.model
        model.recalibrated_at = min(model.recalibrated_at, model.num_timesteps)  # type: ignore[attr-defined]

    def _on_rollout_start(self) -> None:
        self._recalibrate_if_due()

    def _on_training_end(self) -> None:
        self._recalibrate_if_due()

    def _on_step(self) -> bool:
        return True

    def _recalibrate_if_due(self) -> None:
        if self.model.recalibration_due():  # type: ignore[attr-defined]
            self.model.recalibrate()  # type: ignore[attr-defined]
