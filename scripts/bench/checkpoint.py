"""Measure the cost of checkpoints: ``python -m scripts.bench.checkpoint`` from the top folder.

The published setting: TD3 on HalfCheetah-v4, a replay buffer of 1,000,000 transitions, a checkpoint
every ``checkpoint.every`` steps. Training is timed on real steps. The contents of the full buffer,
also those added between two checkpoints, are made up. Times include all syncs to the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from omegaconf import DictConfig

from snnrl.agents.base import SpikingAgent
from snnrl.errors import UserError, exit_status, with_short_errors
from snnrl.experiment.builder import build_agent, build_training_env
from snnrl.experiment.checkpoint.disk_usage import checkpoint_bytes, in_bytes
from snnrl.experiment.checkpoint.manifest import newest_intact
from snnrl.experiment.checkpoint.replay_segments import ARRAYS, replay_of
from snnrl.experiment.checkpoint.save import Checkpoints, Position, load_checkpoint, run_id
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.validate import kernel_for
from snnrl.experiment.reproduction import provenance
from snnrl.experiment.threads import use_threads

SAVES = 12
RANDOM_STEPS, WARM_UP, STEPS = 300, 50, 2000
QUICK = ["algo.buffer_size=2000", "checkpoint.every=50", "actor.hidden=[8]", "critic.hidden=[8]"]
LIMIT = 0.02


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 1 if checkpoints take more than 2 % of the training time, else 0.

    With ``--quick`` it is 0, because checkpoints of tiny runs always take more.
    """
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.checkpoint", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a smoke test")
    parser.add_argument("--disk", type=Path, default=Path(), help="folder on the measured disk")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("settings", nargs="*", help="settings of the run, such as env=walker2d")
    return exit_status(lambda: _measure(with_short_errors(parser).parse_args(arguments)))


def _measure(options: argparse.Namespace) -> int:
    warnings.simplefilter("ignore")
    cfg = compose_config([*(QUICK if options.quick else []), *options.settings])
    if cfg.algo.name == "ppo":
        raise UserError("algo=ppo: stores no transitions; expected another algorithm")
    threads = use_threads(cfg, kernel_for(cfg))
    with tempfile.TemporaryDirectory(dir=options.disk) as folder:
        found = measure(cfg, Path(folder), 100 if options.quick else STEPS)
    found = {"facts": facts(cfg, threads), **found}
    text = markdown(found)
    print(text)
    print(f"written to {write(found, text, options.out)}")
    return int(found["share"] > LIMIT and not options.quick)


def measure(cfg: DictConfig, folder: Path, steps: int) -> dict[str, Any]:
    """Return seconds and bytes.

    :param folder: empty folder on the disk that is measured
    :param steps: environment steps that are timed
    """
    env = build_training_env(cfg)
    agent = build_agent(cfg, env, learning_starts=RANDOM_STEPS)
    learn(agent, RANDOM_STEPS + WARM_UP)
    step = timed(lambda: learn(agent, steps)) / steps
    fill(agent)
    (folder / "whole").mkdir()
    everything = Checkpoints(folder / "whole" / "checkpoint", run_id(cfg))
    position = Position({})
    whole = timed(lambda: everything.save(agent, position))
    shutil.rmtree(folder / "whole")
    checkpoints = Checkpoints(folder / "checkpoint", run_id(cfg))
    saves = [timed(lambda: checkpoints.save(agent, position)) for _ in intervals(agent, cfg)][
        -SAVES:
    ]
    on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    check = timed(lambda: newest_intact(folder / "checkpoint"))
    load = timed(lambda: load_checkpoint(folder / "checkpoint", cfg, env))
    env.close()
    training = cfg.checkpoint.every * step
    return {
        "setting": f"{cfg.algo.name} on {cfg.env.id}",
        "transitions": replay_of(agent).size() * agent.n_envs,
        "every": cfg.checkpoint.every,
        "step_seconds": step,
        "training_seconds": training,
        "save_seconds": saves,
        "share": median(saves) / training,
        "largest_share": max(saves) / training,
        "whole_seconds": whole,
        "check_seconds": check,
        "load_seconds": load,
        "bytes": on_disk,
        "bytes_said": checkpoint_bytes(cfg, agent),
        "checksums": checksums(),
    }


def learn(agent: SpikingAgent, steps: int) -> None:
    """Learn for so many more environment steps."""
    agent.learn(steps, reset_num_timesteps=False, log_interval=None)  # type: ignore[arg-type]


def fill(agent: SpikingAgent) -> None:
    """Fill the replay buffer with numbers that cannot be compressed."""
    buffer, generator = replay_of(agent), np.random.default_rng(0)
    for name in ARRAYS:
        array = getattr(buffer, name)
        array.view(np.uint8)[...] = np.frombuffer(generator.bytes(array.nbytes), np.uint8).reshape(
            array.view(np.uint8).shape
        )
    go_to(agent, buffer.buffer_size)


def intervals(agent: SpikingAgent, cfg: DictConfig) -> Iterator[None]:
    """Yield at the end of each interval between two checkpoints, until the buffer is full, and then
    :data:`SAVES` more times."""
    every = cfg.checkpoint.every // agent.n_envs
    for number in range(1, math.ceil(replay_of(agent).buffer_size / every) + SAVES + 1):
        go_to(agent, number * every)
        yield


def go_to(agent: SpikingAgent, rows: int) -> None:
    """Set the counters as if so many rows had been added to the replay buffer."""
    buffer = replay_of(agent)
    agent.num_timesteps = rows * agent.n_envs
    buffer.pos, buffer.full = rows % buffer.buffer_size, rows >= buffer.buffer_size


def checksums() -> dict[str, float]:
    """Return the GB per second of checksums that could detect damage."""
    data = os.urandom(64 << 20)
    kinds: dict[str, Callable[[bytes], object]] = {
        "crc32": zlib.crc32,
        "sha256": hashlib.sha256,
        "blake2b": hashlib.blake2b,
    }
    return {
        name: len(data) / 1e9 / timed(lambda kind=kind: kind(data))  # type: ignore[misc]
        for name, kind in kinds.items()
    }


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    began = perf_counter()
    call()
    return perf_counter() - began


def facts(cfg: DictConfig, threads: int) -> dict[str, Any]:
    """Return machine, versions, source and command."""
    found = provenance.collect(cfg.kernel.name, threads, cfg.seed)
    git = found.pop("git")
    return {
        **found,
        "command": ["python -m scripts.bench.checkpoint", *sys.argv[1:]],
        "git": {"revision": git["revision"], "changed": bool(git["diff"] or git["untracked"])},
        "load_average": list(os.getloadavg()),
    }


def markdown(found: dict[str, Any]) -> str:
    """Return the results as a page."""
    known = found["facts"]
    hardware, versions, git = known["hardware"], known["versions"], known["git"]
    saves = found["save_seconds"]
    load = ", ".join(f"{value:.2f}" for value in known["load_average"])
    changed = " with changes" if git["changed"] else ""
    rows = [
        ("an environment step with its update", f"{found['step_seconds'] * 1e3:.2f} ms"),
        (f"training between checkpoints ({found['every']:,} steps)", seconds(found, "training")),
        (
            f"a checkpoint: median, minimum and maximum of {len(saves)}",
            f"{median(saves):.3f} s, {min(saves):.3f} s, {max(saves):.3f} s",
        ),
        ("**share of training time**: median", f"**{found['share']:.2%}**"),
        ("share of training time: maximum", f"{found['largest_share']:.2%}"),
        ("for comparison: a checkpoint that writes every transition", seconds(found, "whole")),
        ("resuming: checksums of all files", seconds(found, "check")),
        ("resuming: checksums and everything else", seconds(found, "load")),
        ("on disk, two checkpoints", in_bytes(found["bytes"])),
        ("on disk, maximum announced at the start of the run", in_bytes(found["bytes_said"])),
        *((f"{name}, GB/s", f"{speed:.2f}") for name, speed in found["checksums"].items()),
    ]
    return "\n".join(
        [
            f"# Checkpoints: {found['setting']}, {found['transitions']:,} transitions",
            "",
            "```",
            f"{hardware['cpu']}, {hardware['cpus']} CPUs, {known['threads']} threads, load {load}",
            f"torch {versions['torch']}, numpy {versions['numpy']}, Python {versions['python']}",
            f"revision {(git['revision'] or 'none')[:10]}{changed}, {known['started']}",
            " ".join(known["command"]),
            "```",
            "",
            "| | |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for name, value in rows),
        ]
    )


def seconds(found: dict[str, Any], name: str) -> str:
    """Return a time with its unit."""
    return f"{found[f'{name}_seconds']:.2f} s"


def write(found: dict[str, Any], text: str, folder: Path) -> Path:
    """Write ``checkpoint-<cpu>-<date>.json`` and ``.md`` into ``folder``; return the ``.md``."""
    known = found["facts"]
    cpu = re.sub(r"[^a-z0-9]+", "-", known["hardware"]["cpu"].lower()).strip("-")
    stamp = datetime.fromisoformat(known["started"]).strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"checkpoint-{cpu}-{stamp}.md"
    path.write_text(text + "\n")
    path.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
