"""A run is a folder: its name, its files, its state."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from snnrl.analysis.documents import read_mapping
from snnrl.analysis.run_done import SEALED, check_sealed, read_done, seal
from snnrl.analysis.run_files import EVALUATIONS, STATISTICS_ERROR
from snnrl.analysis.runs import CAME_LATER, NOT_SETTINGS, OWN_RUNS
from snnrl.errors import UserError
from snnrl.experiment.checksums import is_whole_model
from snnrl.experiment.choices import CRITICS, spiking_parts
from snnrl.experiment.config import compose_config, environment_choice
from snnrl.experiment.failures import FAILURES, Failure, add_failure, failed_twice
from snnrl.experiment.records import Fingerprint, Table, replace_file

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

ONLY_SPIKING = ("neuron", "surrogate", "encoder", "kernel", "bn")
"""Groups that an agent without a spiking network has no use for."""

HASH_DIGITS = 8

IN_THE_PATH = ("env.id", "env.observation", "seeding")
"""Settings that the path names elsewhere: in the environment's folder, or by the hash alone."""


class RunFolder:
    """``<results_dir>/<env>/<name>-<hash>/seed-<s>``, from a checked configuration.

    A folder of the same hash that is there already is used, whatever its name: earlier versions
    gave longer ones, and one setting may come of several experiments.

    :raises UserError: two folders hold this run
    """

    def __init__(self, cfg: DictConfig):
        self.cfg = cfg
        self.path = _find(cfg)
        self.setting = self.path.parent.name
        self.has_its_own_name = self.path.parent == _new_folder(cfg)
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


def folder_name(cfg: DictConfig) -> str:
    """``<algo>-<neuron>-<bn>[-<experiment_name>]-<hash>``; an ordinary actor's name takes the
    neuron's place."""
    spikes = cfg.actor.name == "spiking"
    # Runs from before there were names of experiments have none.
    experiment = cfg.get("experiment_name")
    parts = [cfg.algo.name, (cfg.neuron if spikes else cfg.actor).name, cfg.bn.name, experiment]
    words = (re.sub(r"[^\w.-]+", "", part) for part in parts if part is not None)
    return "-".join([*words, settings_hash(cfg)])


def _find(cfg: DictConfig) -> Path:
    """The run folder: the one that holds the run, else the one of its setting, else a new one."""
    new, seed = _new_folder(cfg), f"seed-{cfg.seed}"
    settings = _of_the_setting(new.parent, new.name)
    earlier = []
    if Path(cfg.results_dir) == Path(OWN_RUNS):
        # Where runs went by default before one's own and recorded ones were kept apart.
        earlier = _of_the_setting(new.parents[2] / new.parent.name, new.name)
    holding = [found / seed for found in (*settings, *earlier) if (found / seed).is_dir()]
    if len(holding) > 1:
        raise UserError(
            f"{holding[0]} and {holding[1]}: two folders of one run; expected one of them moved "
            "away"
        )
    return holding[0] if holding else (settings or [new])[0] / seed


def _new_folder(cfg: DictConfig) -> Path:
    """What the folder of a setting is called that has none yet."""
    env = re.sub(r"[^\w.-]+", "-", cfg.env.id)
    return Path(cfg.results_dir) / env / folder_name(cfg)


def _of_the_setting(environment: Path, name: str) -> list[Path]:
    """The folders that end with the hash of this name, first the one of the name itself."""
    ending = name[-HASH_DIGITS - 1 :]
    try:
        found = [f for f in environment.iterdir() if f.name.endswith(ending) and f.is_dir()]
    except OSError:
        return []  # whoever is to write there is told
    return sorted(found, key=lambda folder: (folder.name != name, folder.name))


def settings_hash(cfg: DictConfig) -> str:
    """Eight hex digits of everything that changes what is learned, but for the seed."""
    settings = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(settings, dict)
    skipped = _without_meaning(cfg)
    kept = {key: value for key, value in settings.items() if key not in skipped}
    for key, value in CAME_LATER.items():
        # So that a run from before there was this setting is found again.
        group, _, name = key.rpartition(".")
        place = kept.get(group, {}) if group else kept
        if name in place and place[name] == value:
            del place[name]
    kept = {key: value for key, value in kept.items() if value != {}}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:HASH_DIGITS]


def label(cfg: DictConfig) -> str:
    """``<algo>-<actor>-<neuron>-<bn>`` and what else differs from their defaults."""
    skipped = _without_meaning(cfg)
    parts = [
        cfg[g].name for g in ("algo", "actor", "neuron", "bn") if g not in skipped or g == "bn"
    ]
    if cfg.critic.name != CRITICS[cfg.algo.name][0]:
        own = f"_{cfg.critic.bn.name}" if cfg.critic.name == "spiking" else ""
        parts.append(f"critic_{cfg.critic.name}{own}")
    if cfg.env.observation != "default":
        parts.append(cfg.env.observation)
    main = _main_choices(cfg)
    parts += [
        cfg[g].name
        for g in ("surrogate", "encoder", "conv", "kernel")
        if g not in skipped and cfg[g].name != _defaults(*main)[g].name
    ]
    parts += _differences(cfg, _defaults(*main, *_other_choices(cfg)), skipped)
    return re.sub(r"[^\w=.,-]+", "", "-".join(parts))


def _main_choices(cfg: DictConfig) -> list[str]:
    env = environment_choice(cfg.env.id, cfg.env.observation)
    known = [f"env={env}"] if env is not None else []
    return [*known, f"algo={cfg.algo.name}", f"actor={cfg.actor.name}"]


def _other_choices(cfg: DictConfig) -> list[str]:
    groups = ("critic", "neuron", "surrogate", "encoder", "conv", "bn", "kernel")
    own = [f"bn@critic.bn={cfg.critic.bn.name}"] if cfg.critic.name == "spiking" else []
    return [*(f"{group}={cfg[group].name}" for group in groups), *own]


@cache
def _defaults(*choices: str) -> DictConfig:
    return compose_config(choices)


def _without_meaning(cfg: DictConfig) -> tuple[str, ...]:
    """Top-level keys that change nothing of what this configuration learns."""
    return (*NOT_SETTINGS, *(() if spiking_parts(cfg) else ONLY_SPIKING))


def _differences(
    cfg: DictConfig, defaults: DictConfig, skipped: tuple[str, ...], prefix: str = ""
) -> list[str]:
    found = []
    for key in map(str, cfg):
        path = f"{prefix}{key}"
        if path in skipped or path in IN_THE_PATH:
            continue
        ours, theirs = cfg[key], defaults.get(key)
        if isinstance(ours, DictConfig) and isinstance(theirs, DictConfig):
            found += _differences(ours, theirs, skipped, f"{path}.")
        elif ours != theirs:
            value = ",".join(map(str, ours)) if isinstance(ours, ListConfig) else ours
            found.append(f"{path}={value}")
    return found
