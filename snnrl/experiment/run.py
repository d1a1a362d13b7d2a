"""One run, from a composed configuration to a finished folder."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.vec_env import VecEnv

from snnrl.agents.base import SpikingAgent
from snnrl.analysis.report import summarise_run
from snnrl.envs.blame import place
from snnrl.errors import Interrupted, RunFailed, UserError, describe
from snnrl.experiment.builder import (
    build_agent,
    build_evaluator,
    build_training_env,
)
from snnrl.experiment.callbacks import Clock, Supervisor
from snnrl.experiment.checkpoint.disk_usage import disk_space
from snnrl.experiment.checkpoint.save import (
    Position,
    find_checkpoint,
    load_checkpoint,
    save_model,
)
from snnrl.experiment.config.choices import classifies, rollout_size, spiking_parts
from snnrl.experiment.config.validate import asks_for_repeatable, kernel_for, validate
from snnrl.experiment.determinism import repeatable_kernels
from snnrl.experiment.estimate import in_words, seconds_for
from snnrl.experiment.folder.failures import is_machine_failure
from snnrl.experiment.folder.run_folder import TABLES, RunFolder
from snnrl.experiment.progress import Progress
from snnrl.experiment.reproduction import provenance
from snnrl.experiment.reproduction.own_code import check_unchanged, code_of
from snnrl.experiment.signals import StopRequest, stop_on_signals
from snnrl.experiment.threads import check_resumed, cores, use_threads
from snnrl.experiment.time_left import TimeLeft
from snnrl.experiment.tracking.make import make_tracker
from snnrl.experiment.tracking.tracker import Tracker
from snnrl.experiment.workers import EnvironmentEnded
from snnrl.memory import is_memory_error
from snnrl.output import resilient_output
from snnrl.run_format.evaluations import read_evaluations
from snnrl.run_format.failures import Failure
from snnrl.run_format.model import is_whole_model
from snnrl.run_format.names import CONFIG, FAILED
from snnrl.run_format.settings import CAME_LATER, measure
from snnrl.text import one_line

NOTHING_YET = Position({"evaluation": -1, "log": 0, "checkpoint": 0})

SIZES = (
    "algo.buffer_size",
    "algo.n_steps",
    "data.examples",
    "algo.batch_size",
    "env.n_envs",
    "actor.hidden",
    "critic.hidden",
)
"""Settings that determine memory use."""


@dataclass(frozen=True)
class Result:
    """Result of a run.

    :param folder: the run folder
    :param final_return: mean return of the last evaluation
    :param trained: whether any steps were left to train
    """

    folder: Path
    final_return: float
    trained: bool


@resilient_output()
def run(cfg: DictConfig, overrides: list[str]) -> Result:
    """Train, resume training, or report that the run is done.

    It continues without output when nobody reads it any more.

    :param cfg: a composed configuration
    :param overrides: the command line of the configuration
    :raises UserError: the configuration is invalid; nothing is left behind
    :raises RunFailed: it could not continue; the folder records why if training had begun
    :raises Interrupted: a signal came; the run is saved, or was at its last checkpoint
    """
    validate(cfg)
    folder = RunFolder(cfg)
    finished = folder.finished_steps()
    if finished is not None and finished >= cfg.total_steps:
        gone = folder.check_done()
        check_unchanged(folder.last_start(), code_of(cfg.plugins, cfg), folder.path)
        result = _result(folder, trained=False)
        lacking = f"; it has no {', '.join(gone)} any more" if gone else ""
        done = f"already done ({finished:,} steps)"
        # The last rollout of a run may end a little later than asked for.
        if finished >= cfg.total_steps + rollout_size(cfg):
            done = f"already done: {finished:,} steps, more than {_length(cfg)}"
        print(f"{done}: {folder.path}{lacking}")
        return result
    if finished is not None and find_checkpoint(folder.checkpoint) is None:
        raise UserError(
            f"{_length(cfg)}: {folder.path} is done at {finished:,} steps and its "
            "checkpoint is missing; expected another results_dir, or the folder removed"
        )
    failure = folder.failed_twice()
    if failure is not None and not cfg.retry:
        raise RunFailed(
            f"twice with the same error at step {failure.step:,}, so not retried without "
            f"retry=true: {failure.reason} ({folder.path / FAILED})"
        )
    if not folder.has_its_own_name:
        print(f"using the existing folder of these settings: {folder.path.parent}")
    with stop_on_signals() as stop, folder.locked(), repeatable_kernels(cfg):
        _train(cfg, folder, overrides, stop)
    print(f"run folder: {folder.path}")
    print(f"curve:      {folder.curve}")
    return _result(folder, trained=True)


def _length(cfg: DictConfig) -> str:
    """Return the setting of a run's length."""
    return f"epochs={cfg.epochs}" if classifies(cfg) else f"total_steps={cfg.total_steps}"


def _train(cfg: DictConfig, folder: RunFolder, overrides: list[str], stop: StopRequest) -> None:
    threads = use_threads(cfg, kernel_for(cfg) if spiking_parts(cfg) else "naive")
    # Compiled code of earlier runs of a sweep counts against torch's limit.
    torch.compiler.reset()
    begun: SpikingAgent | None = None
    try:
        with _training_env(cfg) as env:
            checkpoint = find_checkpoint(folder.checkpoint)
            folder.check(fresh=checkpoint is None)
            if checkpoint is not None:
                check_unchanged(folder.last_start(), code_of(cfg.plugins, cfg), folder.path)
            with _explain_memory_errors(cfg):
                seconds = None if checkpoint is not None else _print_estimate(cfg)
                start = _start(cfg, env) if checkpoint is None else _resume(folder, env)
            agent, position = start
            kernel = agent.kernel
            if checkpoint is not None:
                check_resumed(folder.last_start(), kernel, threads, folder.path)
            why = agent.why_not_fused() if cfg.kernel.name == "auto" else None
            shown = kernel if why is None else f"{kernel} ({why})"
            print(f"kernel: {shown}; threads: {threads}; device: {agent.device}", flush=True)
            if threads > cores():
                print(f"threads={threads}: there are {cores()} cores, more threads only wait")
            tracker = make_tracker(cfg, folder)
            repeatable = asks_for_repeatable(cfg)
            code = code_of(cfg.plugins, cfg)
            facts = provenance.collect(kernel, threads, cfg.seed, code, repeatable)
            begun = agent
            folder.begin(overrides, facts, fresh=checkpoint is None)
            for table, (rows, _) in position.tables.items():
                folder.table(table).keep(rows)
            _learn(cfg, folder, agent, position, tracker, stop, seconds)
        folder.write_record()
        print(summarise_run(folder.path, folder.curve))
        folder.finish(agent.num_timesteps, kernel)
    except UserError as mistake:
        if begun is None:
            raise
        raise _record_failure(mistake, folder, begun, stop) from mistake
    except Exception as failure:
        raise _record_failure(failure, folder, begun, stop) from failure


def _record_failure(
    failure: Exception, folder: RunFolder, begun: SpikingAgent | None, stop: StopRequest
) -> RunFailed | Interrupted:
    """Return the exception to raise; the folder of a run that had begun records the failure."""
    if isinstance(failure, EnvironmentEnded) and stop.signal_number is not None:
        # The signal reached the environments' processes too.
        return Interrupted(
            "stopped at once; the same command resumes from the last checkpoint",
            stop.signal_number,
        )
    if begun is not None and (gone := folder.gone()) is not None:
        return RunFailed(gone)
    reason = str(failure).split("\n")[0] if isinstance(failure, RunFailed) else describe(failure)
    if begun is None:
        # No file holds the traceback.
        where = "" if isinstance(failure, RunFailed) else place(failure)
        reason = f"{reason}, {where}" if where else reason
    else:
        counts = None if is_machine_failure(failure) else Failure(begun.num_timesteps, reason)
        with suppress(OSError):  # The failure may be a full disk.
            folder.fail(traceback.format_exc(), counts)
            reason = f"{reason} ({folder.path / FAILED})"
    return RunFailed(reason)


@contextmanager
def _training_env(cfg: DictConfig) -> Iterator[VecEnv]:
    env = build_training_env(cfg)
    try:
        yield env
    finally:
        env.close()


def _print_estimate(cfg: DictConfig) -> float:
    compiles = kernel_for(cfg) == "compile"
    wait = " (compiling takes up to a minute the first time)" if compiles else ""
    if (earlier := _additive_folder(cfg)) is not None:
        print(f"an earlier run of these settings is in {earlier}; seeding=additive resumes it")
    print(f"{cfg.env.id}: timing a few steps{wait}", flush=True)
    seconds = seconds_for(cfg, cfg.total_steps)
    print(f"{cfg.total_steps:,} steps will take about {in_words(seconds)} here")
    return seconds


def _start(cfg: DictConfig, env: VecEnv) -> tuple[SpikingAgent, Position]:
    agent = build_agent(cfg, env)
    print(disk_space(cfg, agent))
    return agent, NOTHING_YET


def _additive_folder(cfg: DictConfig) -> Path | None:
    """Return the folder of a run with these settings made before ``seeding`` existed, if there is
    one."""
    before = OmegaConf.merge(cfg, {"seeding": CAME_LATER["seeding"]})
    assert isinstance(before, DictConfig)
    try:
        path = RunFolder(before).path
    except UserError:  # Two folders hold the same run: not this run's concern.
        return None
    is_another = cfg.seeding != before.seeding and (path / CONFIG).exists()
    return path if is_another else None


def _resume(folder: RunFolder, env: VecEnv) -> tuple[SpikingAgent, Position]:
    cfg, checkpoint = folder.cfg, folder.checkpoint
    agent, position, longer, knows_its_step, restored, damaged = load_checkpoint(
        checkpoint, cfg, env
    )
    if longer is not None and _resumes_longer_run(folder, agent.num_timesteps, position, longer):
        position = longer
    folder.check_tables(agent.num_timesteps, position.tables)
    if not knows_its_step:
        position = _complete_earlier_position(folder, agent.num_timesteps, position)
    if position.losses is not None:
        agent.loss_log = position.losses
    if damaged:
        print(
            one_line(
                f"{checkpoint}: damaged ({'; '.join(damaged)}); the previous checkpoint, of step "
                f"{agent.num_timesteps:,}, is intact and is used instead"
            )
        )
    if agent.num_timesteps >= cfg.total_steps + rollout_size(cfg):
        raise UserError(
            f"{_length(cfg)}: {checkpoint} is at step {agent.num_timesteps:,} "
            "already; expected at least that many"
        )
    print(f"resuming from step {agent.num_timesteps:,} of {cfg.total_steps:,}")
    print(disk_space(cfg, agent))
    if not restored:
        print(f"{cfg.env.id}: its state cannot be restored, so a new episode starts")
    return agent, position


def _learn(
    cfg: DictConfig,
    folder: RunFolder,
    agent: SpikingAgent,
    position: Position,
    tracker: Tracker,
    stop: StopRequest,
    seconds: float | None,
) -> None:
    first = agent.num_timesteps
    left = TimeLeft(cfg.total_steps, cfg.algo.get("learning_starts", 0), first, seconds)
    name = f"{cfg.env.id} {folder.setting}"
    # Whole rollouts: a run may end a little later than asked for.
    size = rollout_size(cfg)
    last = -(-cfg.total_steps // size) * size
    progress = Progress(name, last, first, left, measure(cfg))
    if tracker.message:
        progress.say(tracker.message)
    evaluator = build_evaluator(cfg)
    exit_code = 1
    try:
        tracker.begin()
        agent.learn(
            cfg.total_steps - agent.num_timesteps,
            callback=Supervisor(folder, evaluator, tracker, progress, stop, position),
            log_interval=None,  # type: ignore[arg-type]
            reset_num_timesteps=False,
        )
        save_model(folder.model, agent, cfg.kernel.name)
        exit_code = 0
    except Interrupted as interrupted:
        save_model(folder.model, agent, cfg.kernel.name)
        exit_code = 128 + interrupted.signal_number
        raise
    finally:
        progress.close()
        tracker.finish(exit_code)


def _resumes_longer_run(folder: RunFolder, step: int, position: Position, longer: Position) -> bool:
    """Return whether to resume as a longer run, without the results that only a run's end has."""
    if step < folder.cfg.total_steps:
        return True
    if folder.holds(step, position.tables) or not folder.holds(step, longer.tables):
        return False
    # A longer run has removed them, and was stopped before its own first checkpoint.
    print(
        f"{folder.path}: the rows of its end, at step {step:,}, are missing and are written again"
    )
    return True


def _complete_earlier_position(folder: RunFolder, step: int, position: Position) -> Position:
    """Complete the position of a checkpoint that has no best model and no rows of its own step.

    The earliest ones have no rows at all.
    """
    cfg, tables = folder.cfg, {name: folder.table(name) for name in TABLES}
    known = {
        name: position.tables[name][0] if name in position.tables else table.count_before(step)
        for name, table in tables.items()
    }
    evaluations = tables["evaluations"]
    before = [int(row["timesteps"]) for row in evaluations.rows()[: known["evaluations"]]]
    last = max(before, default=-1)
    # An extended run was evaluated at its earlier end, due or not.
    counts = step >= cfg.total_steps or Clock(cfg.evaluation.every, last).due(step)
    evaluated = counts and evaluations.count_after(known["evaluations"], step) > 0
    for name, table in tables.items():
        if evaluated or name == "progress":
            known[name] += table.count_after(known[name], step)
    position = position._replace(
        clocks={**position.clocks, "evaluation": step if evaluated else last},
        tables={name: table.fingerprint(known[name]) for name, table in tables.items()},
    )
    best = folder.best_model
    if not best.exists():
        print(
            f"{best}: missing; the next evaluation that is at least as good as all earlier "
            "ones writes it"
        )
        return position
    if not is_whole_model(best):
        raise UserError(f"{best}: damaged; expected it restored, or removed to continue without it")
    return position._replace(best=best.read_bytes())


@contextmanager
def _explain_memory_errors(cfg: DictConfig) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as problem:
        if not is_memory_error(problem):
            raise
        sizes = {key: OmegaConf.select(cfg, key) for key in SIZES}
        shown = ", ".join(f"{key}={size}" for key, size in sizes.items() if size is not None)
        raise UserError(
            f"{shown}: expected less than this machine's memory ({str(problem).splitlines()[0]})"
        ) from problem


def _result(folder: RunFolder, *, trained: bool) -> Result:
    """Return the result of a finished run.

    :raises UserError: its evaluations are missing or damaged
    """
    evaluations = read_evaluations(folder.path, "done")
    last = evaluations[evaluations["timesteps"] == evaluations["timesteps"].max()]
    return Result(folder.path, float(last["return"].mean()), trained)
