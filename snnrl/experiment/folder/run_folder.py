"""A run is a folder: its files, its state."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from snnrl.analysis.documents import read_mapping
from snnrl.analysis.run_done import SEALED, check_sealed, read_done, seal
from snnrl.analysis.run_files import EVALUATIONS, STATISTICS_ERROR
from snnrl.errors import UserError
from snnrl.experiment.checkpoint.checksums import is_whole_model
from snnrl.experiment.config.naming import find_run, label, new_folder
from snnrl.experiment.folder.failures import FAILURES, Failure, add_failure, failed_twice
from snnrl.experiment.folder.tables import Fingerprint, Table, replace_file

LOCK = ".lock"
CONFIG = "config.yaml"
SAVED = ".saved"
TABLES = ("evaluations", "statistics_error", "progress")

LEFT_BEHIND = (
    *(name for name in SEALED if name != CONFIG),
    "checkpoint",
    "tensorboard",
    "DONE",
    "FAILED",
    CONFIG,
)
"""What a run writes and a fresh start removes, last what tells that the folder is a run's. Not the
lock, nor the failures, nor W&B's folder, where the run that is about to start has its files
already; nor anything of the user's."""


class RunFolder:
    """``<results_dir>/<env>/<name>-<hash>/seed-<s>``, from a checked configuration.

    A folder of the same hash that is there already is used, whatever its name: earlier versions
    gave longer ones, and one setting may come of several experiments.

    :raises UserError: two folders hold this run
    """

    def __init__(self, cfg: DictConfig):
        self.cfg = cfg
        self.path = find_run(cfg)
        self.setting = self.path.parent.name
        self.has_its_own_name = self.path.parent == new_folder(cfg)
        self.checkpoint = self.path / "checkpoint"
        self.model = self.path / "model.zip"
        self.best_model = self.path / "best_model.zip"
        self.curve = self.path / "curve.png"
        self._record: dict[str, str] = {}
        self._lock: int | None = None

    def table(self, name: str) -> Table:
        """``evaluations``, ``statistics_error`` or ``progress``."""
        columns = {"evaluations": EVALUATIONS, "statistics_error": STATISTICS_ERROR}
        return Table(self.path / f"{name}.csv", columns.get(name, ("timesteps",)))

    def holds(self, step: int, fingerprints: Mapping[str, Fingerprint]) -> bool:
        """Whether :meth:`check_tables` has nothing to say."""
        return all(self.table(name).holds(known, step) for name, known in fingerprints.items())

    def check_tables(self, step: int, fingerprints: Mapping[str, Fingerprint]) -> None:
        """Check that the tables begin with what they held when the checkpoint was written.

        :param step: the checkpoint's
        :raises UserError: one of them does not
        """
        for name, expected in fingerprints.items():
            table = self.table(name)
            if not table.holds(expected, step):
                raise UserError(
                    f"{table.path}: damaged, not the {expected[0]} rows that the checkpoint of "
                    f"step {step:,} knows; expected them back, or the run folder removed to start "
                    "afresh"
                )

    def finished_steps(self) -> int | None:
        """Steps of a finished run, ``None`` for one that is not finished.

        :raises UserError: ``DONE`` cannot be read
        """
        try:
            if not (self.path / "DONE").exists():
                return None
        except OSError as problem:
            raise self._cannot_write(problem) from None
        return read_done(self.path).timesteps

    def check_done(self) -> list[str]:
        """Check that a finished run's files are as they were when it was done.

        :raises UserError: one of them is not, or a model is gone that the checkpoint has
        :return: names of files that are gone otherwise
        """
        again = "DONE removed, so that the same command makes it again from the checkpoint"
        check_sealed(self.path, [name for name in SEALED if not name.endswith(".zip")])
        for model in (self.model, self.best_model):
            try:
                check_sealed(self.path, [model.name])
            except UserError as problem:
                raise UserError(f"{problem}, or {again}") from None
            if not model.exists() and self.checkpoint.exists():
                raise UserError(f"{model}: not there, though the run is done; expected {again}")
            if model.exists() and not is_whole_model(model):
                # Earlier versions did not write down what the files were.
                raise UserError(f"{model}: damaged; expected it back, or {again}")
        known = read_done(self.path).files
        return [name for name in known if not (self.path / name).exists()]

    def failed_twice(self) -> Failure | None:
        """What the run failed of, where it failed of the same at the same step before."""
        return failed_twice(self.path)

    def check(self, *, fresh: bool) -> None:
        """Check that what lies here is a run's, before anything is written.

        :param fresh: whether the run starts afresh, which deletes what an earlier try left
        :raises UserError: files that no run left, a run that has lost its checkpoint, or a history
            that cannot be read
        """
        if not fresh:
            self._earlier_provenance()
            return
        names = sorted(path.name for path in self.path.iterdir() if not path.name.startswith("."))
        if names and CONFIG not in names:
            raise UserError(
                f"{self.path}: not a run folder, it holds {names[0]} and no {CONFIG}; expected "
                "another results_dir, or the folder moved away"
            )
        if (self.path / SAVED).exists():
            raise UserError(
                f"{self.checkpoint}: it had a checkpoint, which is gone; expected it back, or the "
                "run folder removed to start afresh"
            )

    def begin(self, overrides: list[str], provenance: dict[str, Any], *, fresh: bool) -> None:
        """Write what will run; a run that starts afresh drops what an earlier try left."""
        if fresh:
            for leftover in (self.path / name for name in LEFT_BEHIND):
                if leftover.is_dir() and not leftover.is_symlink():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink(missing_ok=True)
        for mark in ("DONE", "FAILED"):
            (self.path / mark).unlink(missing_ok=True)
        earlier = self._earlier_provenance()
        resumed = [*earlier.pop("resumed_from"), *([earlier] if earlier else [])]
        history = {"resumed_from": resumed} if resumed else {}
        self._record = {
            CONFIG: f"# {label(self.cfg)}\n{OmegaConf.to_yaml(self.cfg, resolve=True)}",
            "overrides.yaml": yaml.safe_dump(overrides),
            "provenance.json": json.dumps({**provenance, **history}, indent=2),
        }
        self.write_record()

    def write_record(self) -> None:
        """Write what runs, as it was when the run began, whatever has become of the files."""
        for name, text in self._record.items():
            self._write(name, text)

    def mark_saved(self) -> None:
        """Remember that there is a checkpoint: without it, the run is not to start afresh."""
        if not (self.path / SAVED).exists():
            self._write(SAVED, "")

    def finish(self, timesteps: int, kernel: str) -> None:
        """Mark the run as done; the last thing written."""
        (self.path / FAILURES).unlink(missing_ok=True)
        done = {"timesteps": timesteps, "kernel": kernel, "files": seal(self.path)}
        self._write("DONE", json.dumps(done))

    def fail(self, traceback: str, failure: Failure | None) -> None:
        """Mark the run as failed; the last thing written.

        :param failure: what it failed of; None does not count where the same fails twice
        """
        if failure is not None:
            add_failure(self.path, failure)
        self._write("FAILED", traceback)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the lock dies with the process.

        Folders that were made for a run that did not begin are taken away again.

        :raises UserError: another process holds it, or the folder cannot be made
        """
        made = [part for part in [self.path, *self.path.parents] if not part.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / LOCK, os.O_CREAT | os.O_RDWR)
        except OSError as problem:
            raise self._cannot_write(problem) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UserError(f"{self.path}: another process is running this run") from None
        except OSError as problem:
            os.close(handle)
            raise UserError(f"{self.path}: cannot be locked ({problem.strerror})") from None
        self._lock = handle
        try:
            yield
        finally:
            if self.path in made and not self.gone() and not (self.path / CONFIG).exists():
                with suppress(OSError):  # another run lives there by now, or they are gone
                    shutil.rmtree(self.path)
                    for part in made[1:]:
                        part.rmdir()
            self._lock = None
            os.close(handle)

    def gone(self) -> str | None:
        """Say that the folder is not the one that :meth:`locked` holds any more.

        :return: the line; ``None`` while it is there
        """
        assert self._lock is not None
        try:
            there = os.path.samestat(os.fstat(self._lock), (self.path / LOCK).stat())
        except OSError:
            there = False
        if there:
            return None
        return f"{self.path}: removed or replaced during the run; expected it to stay until its end"

    def _cannot_write(self, problem: OSError) -> UserError:
        return UserError(
            f"results_dir={self.cfg.results_dir}: cannot write there ({problem.strerror})"
        )

    def _earlier_provenance(self) -> dict[str, Any]:
        history = self.path / "provenance.json"
        try:
            earlier = read_mapping(history) if history.exists() else {}
            return {**earlier, "resumed_from": [*earlier.get("resumed_from", [])]}
        except (UserError, TypeError):
            raise UserError(
                f"{history}: cannot be read; remove it to go on without the earlier history"
            ) from None

    def _write(self, name: str, text: str) -> None:
        replace_file(self.path / name, (text.rstrip() + "\n").encode())
