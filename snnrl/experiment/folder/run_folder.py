"""Run folder: the files and the state of a run."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.config.label import label
from snnrl.experiment.folder.places import find_run, new_folder
from snnrl.run_format import evaluations, names, statistics_error
from snnrl.run_format.config import write_config, write_overrides
from snnrl.run_format.done import check_sealed, read_done, write_done
from snnrl.run_format.durable import write_text
from snnrl.run_format.failures import Failure, add_failure, failed_twice, write_failed
from snnrl.run_format.model import is_whole_model
from snnrl.run_format.names import CONFIG, DONE, FAILED, LOCK, MODELS, SAVED, SEALED
from snnrl.run_format.provenance import read_provenance, write_provenance
from snnrl.run_format.status import is_done
from snnrl.run_format.table import Fingerprint, Table

TABLES = {
    "evaluations": (names.EVALUATIONS, evaluations.COLUMNS),
    "statistics_error": (names.STATISTICS_ERROR, statistics_error.COLUMNS),
    "progress": (names.PROGRESS, ["timesteps"]),
}
"""Name of a table in checkpoints -> its file and its first columns."""

LEFT_BEHIND = (
    *(name for name in SEALED if name != CONFIG),
    names.CHECKPOINT,
    names.TENSORBOARD,
    DONE,
    FAILED,
    CONFIG,
)
"""Files that a run writes and a fresh start removes; those that identify a run folder come last.
Excluded are the lock, the failures and the user's own files, and W&B's folder, where the starting
run already has its files."""


class _Record(NamedTuple):
    config: str
    overrides: list[str]
    starts: list[dict[str, Any]]


class RunFolder:
    """Folder ``<results_dir>/<env>/<name>-<hash>/seed-<s>`` of a run, from a checked configuration.

    An existing folder with the same hash is used, whatever its name: earlier versions gave longer
    names, and several experiments may share a setting.

    :raises UserError: two folders hold this run
    """

    def __init__(self, cfg: DictConfig):
        self.cfg = cfg
        self.path = find_run(cfg)
        self.setting = self.path.parent.name
        self.has_its_own_name = self.path.parent == new_folder(cfg)
        self.checkpoint = self.path / names.CHECKPOINT
        self.model = self.path / names.MODEL
        self.best_model = self.path / names.BEST_MODEL
        self.curve = self.path / names.CURVE
        self._record: _Record | None = None
        self._lock: int | None = None

    def table(self, name: str) -> Table:
        """Return the table ``evaluations``, ``statistics_error`` or ``progress``."""
        file, columns = TABLES[name]
        return Table(self.path / file, columns)

    def holds(self, step: int, fingerprints: Mapping[str, Fingerprint]) -> bool:
        """Return whether :meth:`check_tables` would pass."""
        return all(self.table(name).holds(known, step) for name, known in fingerprints.items())

    def check_tables(self, step: int, fingerprints: Mapping[str, Fingerprint]) -> None:
        """Check that the tables begin with the rows they held when the checkpoint was written.

        :param step: step of the checkpoint
        :raises UserError: one of them does not
        """
        for name, expected in fingerprints.items():
            table = self.table(name)
            if (difference := table.difference(expected, step)) is not None:
                raise UserError(
                    f"{table.path}: damaged ({difference} at the checkpoint of step {step:,}); "
                    "expected it restored, or the run folder removed to start over"
                )

    def finished_steps(self) -> int | None:
        """Return the steps of a finished run, ``None`` for an unfinished one.

        :raises UserError: ``DONE`` cannot be read
        """
        try:
            if not is_done(self.path):
                return None
        except OSError as problem:
            raise self._cannot_write(problem) from None
        return read_done(self.path).timesteps

    def check_done(self) -> list[str]:
        """Check that a finished run's files have not changed since it was done.

        :raises UserError: one has changed, or a model of the checkpoint is missing
        :return: names of other files that are missing
        """
        again = f"{DONE} removed, so that the same command makes it again from the checkpoint"
        check_sealed(self.path, [name for name in SEALED if name not in MODELS])
        for model in (self.model, self.best_model):
            try:
                check_sealed(self.path, [model.name])
            except UserError as problem:
                raise UserError(f"{problem}, or {again}") from None
            if not model.exists() and self.checkpoint.exists():
                raise UserError(f"{model}: not there, though the run is done; expected {again}")
            if model.exists() and not is_whole_model(model):
                # Earlier versions did not record the files.
                raise UserError(f"{model}: damaged; expected it restored, or {again}")
        known = read_done(self.path).files
        return [name for name in known if not (self.path / name).exists()]

    def failed_twice(self) -> Failure | None:
        """Return the latest failure if the run failed twice with the same error at the same
        step."""
        return failed_twice(self.path)

    def check(self, *, fresh: bool) -> None:
        """Check that existing files are those of a run, before anything is written.

        :param fresh: whether the run starts from the beginning, which deletes the files of an
            earlier attempt
        :raises UserError: files that no run wrote, a run without its checkpoint, or a history that
            cannot be read
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
                f"{self.checkpoint}: its checkpoint is missing; expected it restored, or the run "
                "folder removed to start over"
            )

    def last_start(self) -> dict[str, Any]:
        """Return the facts of the last start; empty if there are none."""
        return {**(self._earlier_provenance() or [{}])[-1]}

    def begin(self, overrides: list[str], provenance: dict[str, Any], *, fresh: bool) -> None:
        """Write the record of this start; a run that starts from the beginning removes the files of
        an earlier attempt."""
        if fresh:
            for leftover in (self.path / name for name in LEFT_BEHIND):
                if leftover.is_dir() and not leftover.is_symlink():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink(missing_ok=True)
        for mark in (DONE, FAILED):
            (self.path / mark).unlink(missing_ok=True)
        self._record = _Record(
            OmegaConf.to_yaml(self.cfg, resolve=True),
            overrides,
            [*filter(None, self._earlier_provenance()), provenance],
        )
        self.write_record()

    def write_record(self) -> None:
        """Write the record of the run as it was at its start, whatever has happened to the files
        since."""
        assert self._record is not None
        config, overrides, starts = self._record
        write_config(self.path, config, label(self.cfg))
        write_overrides(self.path, overrides)
        write_provenance(self.path, starts)

    def mark_saved(self) -> None:
        """Record that a checkpoint exists: if it gets lost, the run must not start from the
        beginning."""
        if not (self.path / SAVED).exists():
            write_text(self.path / SAVED, "")

    def finish(self, timesteps: int, kernel: str) -> None:
        """Mark the run as done; this is the last write."""
        (self.path / names.FAILURES).unlink(missing_ok=True)
        write_done(self.path, timesteps, kernel)

    def fail(self, traceback: str, failure: Failure | None) -> None:
        """Mark the run as failed; this is the last write.

        :param failure: the failure; None does not count towards a repeated failure
        """
        if failure is not None:
            add_failure(self.path, failure)
        write_failed(self.path, traceback)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock, which ends with the process.

        Folders made for a run that did not begin are removed again.

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
                with suppress(OSError):  # Another run uses them by now, or they are gone.
                    shutil.rmtree(self.path)
                    for part in made[1:]:
                        part.rmdir()
            self._lock = None
            os.close(handle)

    def gone(self) -> str | None:
        """Return a message if the folder is no longer the one that :meth:`locked` holds.

        :return: the message; ``None`` while the folder exists
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

    def _earlier_provenance(self) -> list[dict[str, Any]]:
        try:
            return read_provenance(self.path)
        except UserError:
            raise UserError(
                f"{self.path / names.PROVENANCE}: cannot be read; remove it to continue without "
                "the earlier history"
            ) from None
