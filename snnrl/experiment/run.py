"""One run, from a composed configuration to a finished folder."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from snnrl.agents import TD3
from snnrl.agents.actor import SpikingActor
from snnrl.analysis.report import summarise_run
from snnrl.errors import Interrupted, RunFailed, UserError
from snnrl.experiment import provenance
from snnrl.experiment.builder import (
    build_agent,
    build_evaluator,
    build_training_env,
    use_threads,
)
from snnrl.experiment.callbacks import Supervisor
from snnrl.experiment.checkpoint import find_checkpoint, load_checkpoint
from snnrl.experiment.estimate import in_words, seconds_for
from snnrl.experiment.folder import RunFolder
from snnrl.experiment.progress import Progress
from snnrl.experiment.signals import stop_on_signals
from snnrl.experiment.tracking import Tracker
from snnrl.experiment.validate import validate

NOTHING_YET = {"evaluation": -1, "log": 0, "checkpoint": 0}


@dataclass(frozen=True)
class Result:
    """What a run came to.

    :param folder: its folder
    :param final_return: mean return of the last evaluation
    """

    folder: Path
    final_return: float


def run(cfg: DictConfig, overrides: list[str]) -> Result:
    """Train, or go on training, or say that it is done.

    :param cfg: a composed configuration
    :param overrides: the command line that led to it
    :raises UserError: the configuration does not fit; nothing is left behind
    :raises RunFailed: training could not go on; the folder says why
    :raises Interrupted: a signal came; the run is saved
    """
    validate(cfg)
    folder = RunFolder(cfg)
    finished = folder.finished_steps()
    if finished is not None and finished >= cfg.total_steps:
        print(f"already done ({finished:,} steps): {folder.path}")
        return _result(folder)
    with folder.locked():
        _train(cfg, folder, overrides)
    print(summarise_run(folder.path, folder.curve))
    print(f"run folder: {folder.path}")
    print(f"curve:      {folder.curve}")
    return _result(folder)


def _train(cfg: DictConfig, folder: RunFolder, overrides: list[str]) -> None:
    use_threads(cfg.threads)
    checkpoint = find_checkpoint(folder.checkpoint)
    env = build_training_env(cfg)
    if checkpoint is None:
        seconds = seconds_for(cfg, cfg.total_steps)
        agent, clocks, restored = build_agent(cfg, env), dict(NOTHING_YET), True
        print(f"{cfg.total_steps:,} steps will take about {in_words(seconds)} here")
    else:
        agent, clocks, restored = load_checkpoint(checkpoint, cfg, env)
        print(f"going on from step {agent.num_timesteps:,} of {cfg.total_steps:,}")
    if not restored:
        print(f"{cfg.env.id}: its state cannot be restored, so a new episode starts")
    kernel = agent.actor.network.kernel if isinstance(agent.actor, SpikingActor) else "naive"
    print(f"kernel: {kernel}; threads: {cfg.threads}; device: {agent.device}")
    facts = provenance.collect(kernel, cfg.threads, cfg.seed)
    folder.begin(overrides, facts, fresh=checkpoint is None)
    for table in ("evaluations", "statistics_error", "progress"):
        folder.table(table).cut_after(agent.num_timesteps)
    try:
        _learn(cfg, folder, agent, clocks)
    except UserError:
        raise
    except RunFailed as failure:
        folder.fail(traceback.format_exc())
        raise RunFailed(f"{failure} ({folder.path / 'FAILED'})") from failure
    except Exception as failure:
        folder.fail(traceback.format_exc())
        name = type(failure).__name__
        raise RunFailed(f"{name}: {failure} ({folder.path / 'FAILED'})") from failure
    finally:
        env.close()
    folder.finish(agent.num_timesteps, kernel)


def _learn(cfg: DictConfig, folder: RunFolder, agent: TD3, clocks: dict[str, int]) -> None:
    tracker = Tracker(cfg, folder)
    progress = Progress(f"{cfg.env.id} {folder.label}", cfg.total_steps, agent.num_timesteps)
    if tracker.message:
        progress.say(tracker.message)
    evaluator = build_evaluator(cfg)
    exit_code = 1
    try:
        with stop_on_signals() as stop:
            supervisor = Supervisor(folder, evaluator, tracker, progress, stop, clocks)
            agent.learn(
                cfg.total_steps - agent.num_timesteps,
                callback=supervisor,
                log_interval=None,  # type: ignore[arg-type]
                reset_num_timesteps=False,
            )
        agent.save(folder.model)
        exit_code = 0
    except Interrupted as interrupted:
        agent.save(folder.model)
        exit_code = 128 + interrupted.signal_number
        raise
    finally:
        progress.close()
        evaluator.close()
        tracker.finish(exit_code)


def _result(folder: RunFolder) -> Result:
    rows = folder.table("evaluations").rows()
    last = [float(row["return"]) for row in rows if row["timesteps"] == rows[-1]["timesteps"]]
    return Result(folder.path, float(np.mean(last)))
