"""Measure what trained agents return and cost outside of training: a spiking agent by torch, by
numpy, as C and as C with 8-bit integers, beside an ordinary one. Write a table.

    python -m scripts.deploy_table FOLDER SPIKING_RUN ORDINARY_RUN [SPIKING_RUN ORDINARY_RUN ...]

The two runs of a pair are of one task. Needs a C compiler. Times are of one action, the median of
many, on one thread: nothing else should run.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ctypes import CDLL, c_void_p
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from stable_baselines3 import TD3 as StockTD3

from snnrl.analysis.statistics import mean_interval
from snnrl.deploy.cost import cost_of
from snnrl.deploy.cost_layers import ENERGIES, LayerCost
from snnrl.deploy.folding import fold
from snnrl.deploy.quantising import quantise
from snnrl.deploy.runtime import Policy, to_bytes
from snnrl.deploy.to_c import FLAGS, to_c
from snnrl.experiment.builder import build_environment, build_evaluator
from snnrl.experiment.evaluation import Evaluator
from snnrl.experiment.exported import ExportedAgent
from snnrl.experiment.reproduction.provenance import collect
from snnrl.experiment.reproduction.saved_model import find_model
from snnrl.experiment.trained import load_trained

EPISODES, SEED = 30, 10_000
ACTIONS, WARM = 2000, 100


class Row(NamedTuple):
    """What was measured of one way to act.

    :param task: id of the environment
    :param way: what computes the action
    :param returns: of the episodes
    :param seconds: of one action, median
    :param size: bytes of numbers; of C those of the compiled library; ``None``: not measured
    :param cost: of an action; ``None``: that of the row above
    """

    task: str
    way: str
    returns: list[float]
    seconds: float
    size: int | None
    cost: LayerCost | None


def median_time(act: Callable[[np.ndarray], Any], observations: np.ndarray) -> float:
    """Return the median time of an action, in seconds."""
    times = []
    for i in range(WARM + ACTIONS):
        shown = observations[i % len(observations)]
        start = time.perf_counter()
        act(shown)
        times.append(time.perf_counter() - start)
    return float(np.median(times[WARM:]))


Act = Callable[[np.ndarray], np.ndarray]
"""An observation -> an action, or observations ``[B, ...]`` -> actions ``[B, ...]``."""


def compiled(policy: Policy, folder: Path, name: str) -> tuple[Act, int]:
    """Return a policy's C function, and the bytes of its constants and code."""
    source, header = to_c(policy, name)
    (folder / f"{name}.c").write_text(source)
    (folder / f"{name}.h").write_text(header)
    made = folder / f"{name}.so"
    command = ["cc", *FLAGS.split(), "-shared", "-fPIC", f"{name}.c", "-o", made.name, "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    step = getattr(CDLL(str(made)), f"{name}_step")
    action = np.zeros(max(1, policy.head.low.size), np.float32)
    to = c_void_p(action.ctypes.data)

    def act(observation: np.ndarray) -> np.ndarray:
        shown = np.ascontiguousarray(observation, np.float32)
        step(c_void_p(shown.ctypes.data), to)
        return action

    return act, made.stat().st_size


def one_by_one(act: Act, shape: tuple[int, ...]) -> Act:
    """Return the function that acts for observations ``[B, ...]`` by one for a single one.

    :param shape: of an action
    """
    return lambda observations: np.stack([act(each).copy() for each in observations]).reshape(
        len(observations), *shape
    )


def measured(spiking: Path, ordinary: Path) -> Iterator[Row]:
    """Yield a row for each way in which the two agents act."""
    cfg, model = find_model(spiking, "best", [])
    agent = load_trained(cfg, model)
    evaluator = build_evaluator(cfg, EPISODES, SEED)
    assert isinstance(evaluator, Evaluator)

    def play(acting: Any) -> list[float]:
        return [episode.total_reward for episode in evaluator.run(acting)]

    episodes = evaluator.run(agent)
    shown = np.concatenate([episode.observations for episode in episodes])
    returns = [episode.total_reward for episode in episodes]
    cost = cost_of(agent, shown).total
    seconds = median_time(lambda each: agent.predict(each, deterministic=True), shown)
    task, size = str(cfg.env.id), 4 * cost.parameters
    yield Row(task, f"spiking, torch ({agent.kernel} kernel)", returns, seconds, size, cost)
    policy, space = fold(agent), agent.observation_space
    with TemporaryDirectory() as folder:
        for each, way in ((policy, ""), (quantise(policy), ", 8 bits")):
            acts = partial(ExportedAgent, observation_space=space, num_timesteps=0)
            seconds = median_time(each.act, shown)
            yield Row(task, f"numpy{way}", play(acts(each.act)), seconds, len(to_bytes(each)), None)
            act, size = compiled(each, Path(folder), f"policy{len(way)}")
            program = acts(one_by_one(act, each.action_shape))
            yield Row(task, f"C{way}", play(program), median_time(act, shown), size, None)
    cfg, model = find_model(ordinary, "best", [])
    agent = load_trained(cfg, model)
    cost = cost_of(agent, shown).total
    seconds = median_time(lambda each: agent.predict(each, deterministic=True), shown)
    yield Row(task, "ordinary, torch", play(agent), seconds, 4 * cost.parameters, cost)
    stock = StockTD3(
        "MlpPolicy", build_environment(cfg), policy_kwargs={"net_arch": hidden(cfg)}, seed=0
    )
    stock.policy.set_training_mode(False)
    seconds = median_time(lambda each: stock.predict(each, deterministic=True), shown)
    yield Row(task, "ordinary, Stable-Baselines3 (untrained: time alone)", [], seconds, None, None)


def hidden(cfg: Any) -> dict[str, list[int]]:
    """Return the sizes of the run's networks."""
    return {"pi": list(cfg.actor.hidden), "qf": list(cfg.critic.hidden)}


def cells(row: Row) -> dict[str, Any]:
    """Return a row of the csv file."""
    mean, deviation, low, high = mean_interval(row.returns) if row.returns else (np.nan,) * 4
    cost = row.cost
    return {
        "task": row.task,
        "way": row.way,
        "return_mean": mean,
        "return_sd": deviation,
        "return_low": low,
        "return_high": high,
        "action_us": row.seconds * 1e6,
        "bytes": row.size,
        "acs": None if cost is None else cost.acs,
        "macs": None if cost is None else cost.macs,
        **{
            f"energy_{each.name}_nj": None if cost is None else cost.energy(each)
            for each in ENERGIES
        },
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table for people."""
    names = [f"{each.name}: {each.mac:g}/{each.ac:g} pJ" for each in ENERGIES]
    head = ["task", "what acts", "return, mean [95 % interval]", "time of an action, us", "bytes"]
    head += ["accumulations", "MACs", *(f"energy, nJ ({name})" for name in names)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        known = not np.isnan(row["return_mean"])
        interval = f"[{row['return_low']:.2f}, {row['return_high']:.2f}]"
        shown = [row["task"], row["way"], f"{row['return_mean']:.2f} {interval}" if known else "-"]
        shown.append(f"{row['action_us']:.1f}")
        shown.append("-" if row["bytes"] is None else f"{row['bytes']:,}")
        numbers = ("acs", "macs", *(f"energy_{each.name}_nj" for each in ENERGIES))
        for number, digits in zip(numbers, (0, 0, 1, 1), strict=True):
            shown.append("" if row[number] is None else f"{row[number]:,.{digits}f}")
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write ``table.md``, ``table.csv`` and ``provenance.json`` into the first folder."""
    if len(arguments) < 3 or len(arguments) % 2 == 0:
        print("error: expected a folder, then pairs of runs: spiking, ordinary", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    out, runs = Path(arguments[0]), [Path(each) for each in arguments[1:]]
    rows = []
    for spiking, ordinary in zip(runs[::2], runs[1::2], strict=True):
        for row in measured(spiking, ordinary):
            rows.append(cells(row))
            print(json.dumps(rows[-1]), flush=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.csv").write_text(text.getvalue())
    (out / "table.md").write_text(markdown(rows))
    facts = collect("native", 1, SEED)
    (out / "provenance.json").write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
