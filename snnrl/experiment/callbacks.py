"""Callbacks around training, in this order: evaluate, log, checkpoint.

All of them run after a whole update, at the start of the next rollout, and once more at the end.
The agent's own re-calibration comes before. At the end of a run all of them run, due or not; that
checkpoint also holds the position that a longer run would have.
"""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger

from snnrl.agents.base import SpikingAgent
from snnrl.errors import Interrupted, NonFiniteError, RunFailed, UserError
from snnrl.experiment.accuracy import AccuracyEvaluator
from snnrl.experiment.checkpoint.save import (
    Checkpoints,
    Position,
    check_finite,
    run_id,
    save_model,
)
from snnrl.experiment.config.choices import rollout_size
from snnrl.experiment.diagnostics import activity, costs, errors_of_statistics
from snnrl.experiment.evaluation import Episode, EvaluationStopped, Evaluator
from snnrl.experiment.folder.run_folder import TABLES, RunFolder
from snnrl.experiment.progress import Progress
from snnrl.experiment.signals import StopRequest
from snnrl.experiment.tracking.history import statistics_values
from snnrl.experiment.tracking.tracker import Tracker
from snnrl.run_format.durable import replace_file
from snnrl.run_format.progress import LENGTH, RETURN
from snnrl.run_format.table import Table
from snnrl.seeds import SEEDINGS

SATURATED = 0.5
"""Share of a code's inputs out of range from which a run warns of saturation."""


class Clock:
    """Becomes due once for each multiple of ``every`` that is reached.

    :param every: environment steps
    :param last: step at which it was last due; -1 makes step 0 count
    """

    def __init__(self, every: int, last: int):
        self.every = every
        self.last = last

    def due(self, step: int) -> bool:
        """Return whether a multiple was reached since the last time."""
        return step // self.every > self.last // self.every


class ProgressWriter(KVWriter):
    """Write SB3's log values to ``progress.csv`` and the tracker."""

    def __init__(self, table: Table, tracker: Tracker):
        self.table = table
        self.tracker = tracker

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Write one row."""
        row = {key: value for key, value in key_values.items() if key != "time/total_timesteps"}
        self.table.append([{"timesteps": step, **row}])
        self.tracker.log(step, row)

    def close(self) -> None:
        """Do nothing: no file stays open."""


class Supervisor(BaseCallback):
    """Evaluate, log, save and monitor one run.

    The best model has the highest mean return; of equal ones, the last. Where returns do not
    change, Stable-Baselines3's ``EvalCallback``, which requires an improvement, keeps the untrained
    one.

    :param folder: the run's folder
    :param evaluator: runs the evaluations
    :param tracker: shows curves outside the csv files
    :param progress: progress shown to the user
    :param stop: set when a signal asks the run to stop
    :param position: position of the run, with the clocks ``evaluation, log, checkpoint``
    """

    model: SpikingAgent

    def __init__(
        self,
        folder: RunFolder,
        evaluator: Evaluator | AccuracyEvaluator,
        tracker: Tracker,
        progress: Progress,
        stop: StopRequest,
        position: Position,
    ):
        super().__init__()
        cfg = folder.cfg
        self.folder = folder
        self.evaluator = evaluator
        self.tracker = tracker
        self.progress = progress
        self.stop = stop
        every = {
            "evaluation": cfg.evaluation.every,
            "log": cfg.log_every,
            "checkpoint": cfg.checkpoint.every,
        }
        self.checkpoints = Checkpoints(folder.checkpoint, run_id(cfg))
        self.waits = False
        self.obstacle: str | None = None
        self.saturated = False
        self.uncounted = False
        self.clocks = {name: Clock(every[name], position.clocks[name]) for name in every}
        self.tables = {name: folder.table(name) for name in TABLES}
        self.best = position.best

    def _init_callback(self) -> None:
        writer = ProgressWriter(self.tables["progress"], self.tracker)
        self.model.set_logger(Logger(folder=None, output_formats=[writer]))

    def _on_training_start(self) -> None:
        self._keep_best_model()
        self._watch("observation", self.model._last_obs)
        assert self.model.env is not None
        if any(self.model.env.get_attr("only_between_episodes")):
            self._wait_for_episodes(self.folder.cfg)
        self.obstacle = self._obstacle()
        self._warn_of_missing_time_limit(self.folder.cfg)

    def _warn_of_missing_time_limit(self, cfg: DictConfig) -> None:
        assert self.model.env is not None
        limit = cfg.evaluation.max_episode_steps or self.model.env.get_attr("time_limit")[0]
        if limit is None:
            self.progress.say(
                f"env.id={cfg.env.id}: has no known time limit, so an evaluation may never "
                "end; evaluation.max_episode_steps=1000, for example, truncates its episodes"
            )

    def _wait_for_episodes(self, cfg: DictConfig) -> None:
        self.waits = rollout_size(cfg) == 1
        consequence = (
            "checkpoints wait for the end of an episode"
            if self.waits
            else "a resumed run starts new episodes and is not identical; expected "
            "env.n_envs=1 and an update at each step"
        )
        self.progress.say(
            f"{cfg.env.id}: its state cannot be saved, so {consequence}: {self._obstacle()}"
        )

    def _obstacle(self) -> str | None:
        """Return why the first environment without a state has none."""
        assert self.model.env is not None
        return next(filter(None, self.model.env.get_attr("obstacle")), None)

    def _on_step(self) -> bool:
        self._watch("observation", self.locals["new_obs"])
        self._watch("reward", self.locals["rewards"])
        for info in self.locals["infos"]:
            self._watch("observation", info.get("terminal_observation", 0.0))
        self.progress.step_to(self.num_timesteps)
        return True

    def _on_rollout_start(self) -> None:
        step = self.model.num_timesteps
        with suppress(EvaluationStopped):
            self._evaluate_and_log_if_due(step)
        # Once: the signal may come during this.
        signal_number = self.stop.signal_number
        asked = signal_number is not None or self.clocks["checkpoint"].due(step)
        if not asked or (self.waits and not self._between_episodes()):
            return
        self._checkpoint(step)
        if signal_number is not None:
            raise self._stopped(step, signal_number)

    def _stopped(self, step: int, signal_number: int) -> Interrupted:
        return Interrupted(
            f"stopped at step {step:,} and saved; the same command resumes it",
            signal_number,
        )

    def _stops(self) -> bool:
        """Return whether to abandon an evaluation because a checkpoint can be made in its place."""
        asked = self.stop.signal_number is not None
        return asked and (not self.waits or self._between_episodes())

    def _between_episodes(self) -> bool:
        assert self.model.env is not None
        return self.model.env.env_method("get_state")[0] is not None

    def _on_training_end(self) -> None:
        step = self.model.num_timesteps
        try:
            longer = self._evaluate_at_the_end(step)
        except EvaluationStopped:
            assert self.stop.signal_number is not None
            self._checkpoint(step)
            raise self._stopped(step, self.stop.signal_number) from None
        if self.clocks["log"].last < step:
            self._log(step)
        self._checkpoint(step, longer)

    def _evaluate_at_the_end(self, step: int) -> Position:
        """Evaluate, due or not.

        :return: the position that a longer run would have
        """
        self._evaluate_and_log_if_due(step)
        # Logging resets the losses.
        longer = self._position()._replace(losses=deepcopy(self.model.loss_log))
        if self.clocks["evaluation"].last < step:
            self._evaluate(step)
        return longer

    def _evaluate_and_log_if_due(self, step: int) -> None:
        if self.clocks["evaluation"].due(step):
            # Not the one at the end of a run: a longer run would not have made it.
            self.model.report_evaluation(self._evaluate(step))
        if self.clocks["log"].due(step):
            self._log(step)

    def _watch(self, name: str, values: Any) -> None:
        values = np.asarray(values)
        # Bytes are always finite, and images have many.
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            # Broken networks come first: they cause the other faults.
            check_finite(self.model)
            raise NonFiniteError(name, self.num_timesteps)

    def _evaluate(self, step: int) -> float:
        """Evaluate and log; return the mean return."""
        check_finite(self.model)
        self._check_folder()
        episodes = self.evaluator.run(self.model, self._stops)
        self._check_folder()
        self.clocks["evaluation"].last = step
        returns = np.array([episode.total_reward for episode in episodes])
        table = self.tables["evaluations"]
        best = _best_mean(table)
        table.append(self._row(step, episode) for episode in episodes)
        if best is None or returns.mean() >= best:
            kernel = self.folder.cfg.kernel.name
            self.best = save_model(self.folder.best_model, self.model, kernel)
        values = {
            RETURN: float(returns.mean()),
            LENGTH: float(np.mean([episode.length for episode in episodes])),
            **self._measure(step, np.concatenate([episode.observations for episode in episodes])),
        }
        for name, value in values.items():
            self.model.logger.record(name, value)
        self._warn_of_saturation(step, values)
        self._log(step)
        deviation = returns.std(ddof=1) if len(returns) > 1 else 0.0
        self.progress.evaluated(step, float(returns.mean()), float(deviation))
        return float(returns.mean())

    def _row(self, step: int, episode: Episode) -> dict[str, object]:
        return {
            "timesteps": step,
            "episode": episode.index,
            "seed": episode.seed,
            "return": repr(episode.total_reward),
            "length": episode.length,
        }

    def _measure(self, step: int, observations: np.ndarray) -> dict[str, float]:
        # A generator per step: a resumed run draws the same numbers as an uninterrupted one.
        cfg = self.folder.cfg
        generator = SEEDINGS[cfg.seeding].stream(cfg.seed, "statistics", step)
        rows = errors_of_statistics(self.model, observations, generator)
        if rows:
            self.tables["statistics_error"].append({"timesteps": step, **row} for row in rows)
        for row in rows:
            self.tracker.log(step, statistics_values(row))
        return {**activity(self.model, observations), **self._costs(observations)}

    def _costs(self, observations: np.ndarray) -> dict[str, float]:
        """Return what an action costs; say once if it is unknown, which is no reason to stop."""
        if self.uncounted:
            return {}
        try:
            return costs(self.model, observations)
        except UserError as problem:
            self.uncounted = True
            self.progress.say(f"{problem}; progress.csv has no costs")
            return {}

    def _warn_of_saturation(self, step: int, values: dict[str, float]) -> None:
        """Warn once if most inputs of a code are beyond what it tells apart: where the tanh that
        squashes them is flat or, without one, outside its receptive fields."""
        shares = [value for name, value in values.items() if name.startswith("saturation/")]
        if self.saturated or max(shares, default=0.0) <= SATURATED:
            return
        normalization = self.model.get_vec_normalize_env()
        if step == 0 and normalization is not None and normalization.norm_obs:
            # It divides by the standard deviation of the first observations alone.
            return
        self.saturated = True
        encoder = self.folder.cfg.encoder
        squashes = encoder.get("squash", True)
        fitting = "of magnitude about 1" if squashes else "within the receptive fields' range"
        self.progress.say(
            f"encoder={encoder.name}: {max(shares):.0%} of its inputs are so large that it cannot "
            "tell them apart, and so neither can the policy; expected observations "
            f"{fitting}, or encoder=direct"
        )

    def _log(self, step: int) -> None:
        self.clocks["log"].last = step
        self._check_folder()
        self.model.dump_logs()
        check_finite(self.model)

    def _checkpoint(self, step: int, longer: Position | None = None) -> None:
        self.clocks["checkpoint"].last = step
        self._check_folder()
        # A checkpoint on disk claims that these rows are on disk.
        for table in self.tables.values():
            if table.sync():
                self._report_rewritten(table.path)
        if self._keep_best_model():
            self._report_rewritten(self.folder.best_model)
        for name in self.checkpoints.save(self.model, self._position(), longer):
            self._report_rewritten(name)
        self.folder.mark_saved()
        obstacle = self._obstacle()
        if obstacle is not None and obstacle != self.obstacle:
            self.progress.say(
                f"{self.folder.cfg.env.id}: its state cannot be saved any more, so a run resumed "
                f"from step {step:,} starts new episodes and is not identical: {obstacle}"
            )
        self.obstacle = obstacle

    def _check_folder(self) -> None:
        """Check that the run folder still exists, before anything is written to it.

        :raises RunFailed: it does not
        """
        if (gone := self.folder.gone()) is not None:
            raise RunFailed(gone)

    def _position(self) -> Position:
        return Position(
            clocks={name: clock.last for name, clock in self.clocks.items()},
            tables={name: table.fingerprint() for name, table in self.tables.items()},
            best=self.best,
        )

    def _keep_best_model(self) -> bool:
        """Write the best model again if its file has changed; return whether it had."""
        path = self.folder.best_model
        if self.best is None or (path.is_file() and path.read_bytes() == self.best):
            return False
        replace_file(path, self.best)
        return True

    def _report_rewritten(self, what: Path | str) -> None:
        self.progress.say(f"{what}: another program changed it during the run; written again")


def _best_mean(table: Table) -> float | None:
    """Return the highest mean return of an evaluation so far."""
    returns: dict[str, list[float]] = {}
    for row in table.rows():
        returns.setdefault(row["timesteps"], []).append(float(row["return"]))
    # With numpy, like the mean that it is compared with: equal returns have equal means.
    return max((float(np.mean(r)) for r in returns.values()), default=None)
