"""Environment steps per second of TD3 on HalfCheetah-v4, learning at every step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import gymnasium as gym
import torch

from scripts.bench.agents import ordinary, spiking
from scripts.bench.kernels import kernels
from scripts.bench.options import Options
from scripts.bench.race import (
    ABSENT,
    FAILED,
    OTHER,
    REFERENCE,
    SAME,
    Contestant,
    Row,
    Table,
    first_line,
    judge,
    synchronizer,
)
from scripts.bench.steps import TOLERANCE, Shared, ours
from scripts.bench.threads import on_its_threads
from scripts.bench.timing import orders, summarise

ENVIRONMENT = "HalfCheetah-v4"
RANDOM_STEPS, STEPS, TURNS = 200, 600, 6
QUICK_STEPS, QUICK_TURNS = 24, 3
RECALIBRATE_EVERY = 5_000

STOCK = "SB3, ordinary networks"

NOTE = (
    "each time is that of one environment step with learning; all agents run in one process, in "
    "turns. Re-calibration is timed separately; `with it` spreads its time over "
    f"{RECALIBRATE_EVERY:,} steps"
)


def measure(options: Options) -> list[Table]:
    """Return one table; all its rows are absent if the simulator is missing."""
    torch._dynamo.reset()
    count, steps = (QUICK_TURNS, QUICK_STEPS) if options.quick else (TURNS, STEPS)
    case = f"td3 on {ENVIRONMENT}, {steps} steps after {RANDOM_STEPS} random ones, {count} turns"
    try:
        environment()
    except Exception as problem:
        names = [*kernels(options), STOCK]
        reason = f"{ENVIRONMENT} cannot be made ({first_line(problem)})"
        return [Table("end_to_end", case, [Row(name, ABSENT, reason) for name in names])]
    shared = Shared("td3", options)
    entrants = [Contestant(kernel, partial(ours, kernel, shared)) for kernel in kernels(options)]
    # The gate is that of the gradient steps: same networks, same minibatches.
    rows, agreed = judge(entrants, TOLERANCE)
    rows.append(Row(STOCK, OTHER))
    agents = {}
    for row in rows:
        if row.contestant not in agreed and row.contestant != STOCK:
            continue
        try:
            agents[row.contestant] = start(row.contestant, options)
        except Exception as problem:
            row.status, row.detail = FAILED, first_line(problem)
    for name, seconds in turns(agents, count, steps // count, options).items():
        row = next(row for row in rows if row.contestant == name)
        row.seconds = seconds
        row.figures = figures(row, agents[name], options)
    stock = rows[-1].figures.get("steps/s")
    for row in rows:
        if row.seconds and stock:
            row.figures["share of SB3's steps/s"] = row.figures["steps/s with it"] / stock
    return [Table("end_to_end", case, rows, NOTE)]


def environment() -> gym.Env[Any, Any]:
    """Return the environment, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gym.make(ENVIRONMENT)


def start(name: str, options: Options) -> Any:
    """Return an agent after its random steps and a few that learn, so that it is compiled."""
    env, changes = environment(), dict(learning_starts=RANDOM_STEPS)
    agent: Any = (
        ordinary("td3", options, env, **changes)
        if name == STOCK
        else spiking("td3", name, options, env, **changes)
    )
    learn(agent, 10)
    return agent


def learn(agent: Any, steps: int) -> None:
    """Learn for so many more environment steps."""
    agent.learn(steps, reset_num_timesteps=False)


def turns(
    agents: dict[str, Any], count: int, steps: int, options: Options
) -> dict[str, list[float]]:
    """Return the seconds of one environment step, in each of ``count`` turns of ``steps`` steps."""
    synchronize = synchronizer(options.device)
    seconds: dict[str, list[float]] = {name: [] for name in agents}
    for order in orders(agents, count):
        for name in order:
            call = on_its_threads(name, options.threads, partial(learn, agents[name], steps))
            taken = timed(call, synchronize)
            seconds[name].append(taken / steps)
    return seconds


def timed(call: Callable[[], object], synchronize: Callable[[], None]) -> float:
    """Return the seconds of one call."""
    synchronize()
    began = perf_counter()
    call()
    synchronize()
    return perf_counter() - began


def figures(row: Row, agent: Any, options: Options) -> dict[str, float]:
    """Return the steps per second, without and with re-calibration."""
    step = summarise(row.seconds).median
    found = {"steps/s": 1 / step}
    if row.status in (REFERENCE, SAME):
        once = timed(agent.recalibrate, synchronizer(options.device))
        found["re-calibration, s"] = once
        found["steps/s with it"] = 1 / (step + once / RECALIBRATE_EVERY)
    else:
        found["steps/s with it"] = 1 / step
    return found
