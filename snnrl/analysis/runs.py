"""Training runs, from any source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from snnrl.errors import UserError, nearest
from snnrl.run_format.config import flatten
from snnrl.run_format.settings import CAME_LATER, measure, step_of
from snnrl.run_format.status import Status


def measures(runs: Iterable[Run]) -> str:
    """Return what the runs' evaluations measured; several are joined."""
    return " or ".join(dict.fromkeys(run.measure for run in runs)) or "return"


def steps_of(runs: Iterable[Run]) -> str:
    """Return what the runs' steps are; several are joined."""
    return " or ".join(dict.fromkeys(f"{step_of(run.config)}s" for run in runs))


@dataclass(frozen=True, eq=False)
class Run:
    """One training run, from any source.

    :param name: source of the run: a folder, or a W&B path
    :param config: the resolved configuration, nested
    :param evaluations: one row per evaluation episode, columns ``timesteps`` (environment steps),
        ``episode``, ``seed``, ``return``, ``length`` (steps); empty for a run that failed or was
        cut off before its first evaluation
    :param status: ``unfinished`` is still running or was cut off
    :param reason: why it failed, in a line; empty for other runs
    :param clock: seconds of wall time, indexed by environment steps; empty if unknown
    :param statistics_error: one row per layer, evaluation, data and phase; None if unknown
    :param versions: of the packages, the code and the kernel; empty if unknown
    :param hardware: processor and accelerator; empty if unknown
    :param sources: module of the user's own -> digest of its source, as far as it is recorded
    """

    name: str
    config: dict[str, Any]
    evaluations: pd.DataFrame
    status: Status
    reason: str = ""
    clock: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    statistics_error: pd.DataFrame | None = None
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Return the configuration with dotted keys: ``{"algo.batch_size": 256, ...}``."""
        return {**CAME_LATER, **dict(flatten(self.config))}

    def setting(self, key: str) -> Any:
        """Return the value at a dotted key.

        :raises UserError: the run has no such key
        """
        if key not in self.settings:
            raise UserError(
                f"{self.name}: no key '{key}' in its configuration{nearest(key, self.settings)}"
            )
        return self.settings[key]

    @property
    def environment(self) -> str:
        """Return the gymnasium id."""
        return str(self.setting("env.id"))

    @property
    def measures_accuracy(self) -> bool:
        """Return whether its evaluations measured the accuracy on a test split."""
        return measure(self.config) == "accuracy"

    @property
    def measure(self) -> str:
        """Return what its evaluations measured, as the label of an axis."""
        return "accuracy (%)" if self.measures_accuracy else "return"

    @property
    def seed(self) -> int:
        """Return the seed of training.

        :raises UserError: the run has none, or one that is no integer
        """
        seed = self.setting("seed")
        if not isinstance(seed, int):
            raise UserError(f"{self.name}: seed={seed}: expected an integer")
        return seed

    @property
    def untrained_until(self) -> int:
        """Return the last step at which its network cannot have been updated yet: 0, or one at the
        end of random actions or within the first rollout."""
        rollout, environments = (self.settings.get(key) for key in ("algo.n_steps", "env.n_envs"))
        if isinstance(rollout, int) and isinstance(environments, int):
            return rollout * environments - 1
        starts = self.settings.get("algo.learning_starts")
        return starts if isinstance(starts, int) else 0

    @property
    def has_result(self) -> bool:
        """Return whether the run enters means: it was evaluated and did not fail."""
        return self.status != "failed" and not self.evaluations.empty

    @property
    def steps(self) -> int:
        """Return the environment steps at the last evaluation; 0 without one."""
        return 0 if self.evaluations.empty else int(self.evaluations["timesteps"].max())
