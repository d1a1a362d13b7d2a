"""Breakdown of the time of a step on a GPU: replays, their kernels, Python's share, acting."""

from __future__ import annotations

import cProfile
import io
import pstats
import statistics
from collections import Counter
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch.autograd import DeviceType

from scripts.bench.actions import as_tensor, network_of, some_observations
from scripts.bench.agents import ordinary, seed_everything, spiking
from scripts.bench.device_checks import STEPS, train
from scripts.bench.end_to_end import environment
from scripts.bench.findings import Findings
from scripts.bench.options import Options
from scripts.bench.race import synchronizer

BLOCKS, CALLS, QUICK_CALLS = 7, 100, 2
RUN_STEPS, QUICK_RUN_STEPS, PROFILED_STEPS = 1_500, 30, 400
RATE_SECONDS, QUICK_RATE_SECONDS = 12, 1
MICRO = 1e6


def blocks(call: Callable[[], object], options: Options, wait_at_end: bool = True) -> float:
    """Return the microseconds of one call, as the median of blocks of calls.

    :param wait_at_end: whether to wait for the device; if not, the time is that of Python and the
        driver
    """
    synchronize = synchronizer(options.device)
    calls = QUICK_CALLS if options.quick else CALLS
    taken = []
    for _ in range(BLOCKS):
        synchronize()
        began = perf_counter()
        for _ in range(calls):
            call()
        if wait_at_end:
            synchronize()
        taken.append((perf_counter() - began) / calls)
        synchronize()
    return round(statistics.median(taken) * MICRO, 1)


def steps(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Time a gradient step: the replay of each graph, its kernels, all of ``train``."""
    agent: Any = spiking(algo, kernel, options)
    train(agent, 7, STEPS)
    name = f"{algo} {kernel}"
    for key, step in (agent.captured._steps if agent.captured else {}).items():
        kind = f"{name} {key[0].strip('_')}"
        findings.note(f"{kind}: replay, us", blocks(step._replay, options))
        findings.note(f"{kind}: launch of the replay, us", launch(step._replay, options))
    one = partial(agent.train, gradient_steps=1, batch_size=agent.batch_size)
    findings.note(f"{name}: gradient step, us", blocks(one, options))
    sample = partial(agent._minibatch, agent.batch_size)
    findings.note(f"{name}: sampling, us", blocks(sample, options))
    findings.note(f"{name}: sampling, host, us", blocks(sample, options, wait_at_end=False))
    for key, step in (agent.captured._steps if agent.captured else {}).items():
        counted = kernels_of(step._replay, options)
        kind = f"{name} {key[0].strip('_')}"
        findings.note(f"{kind}: kernels", sum(count for count, _ in counted.values()))
        findings.note(f"{kind}: kernels by name", counted)
    agent.captured = None
    train(agent, 7, 4)
    findings.note(f"{name}: gradient step, not captured, us", blocks(one, options))


def launch(replay: Callable[[], object], options: Options) -> float:
    """Return the microseconds that the host spends on launching a graph, with nothing queued."""
    synchronize = synchronizer(options.device)
    taken = []
    for _ in range(QUICK_CALLS if options.quick else CALLS):
        synchronize()
        began = perf_counter()
        replay()
        taken.append(perf_counter() - began)
    synchronize()
    return round(statistics.median(taken) * MICRO, 1)


def kernels_of(call: Callable[[], object], options: Options) -> dict[str, tuple[int, float]]:
    """Return name -> calls and microseconds of each kernel, copy and fill on the device."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if options.device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    synchronize = synchronizer(options.device)
    synchronize()
    with torch.profiler.profile(activities=activities) as profile:
        call()
        synchronize()
    events = [event for event in profile.events() if event.device_type == DeviceType.CUDA]
    counts = Counter(event.name[:80] for event in events)
    total: Counter[str] = Counter()
    for event in events:
        total[event.name[:80]] += event.time_range.elapsed_us()
    return {name: (count, round(total[name], 1)) for name, count in counts.most_common()}


def acting(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Time one action from numpy to numpy, and its parts, beside Stable-Baselines3's."""
    for name, agent in ((kernel, spiking(algo, kernel, options)), ("SB3", ordinary(algo, options))):
        made: Any = agent
        observation = some_observations(made.observation_space, options.seed)[0]
        made.policy.set_training_mode(False)
        tensor, network = as_tensor(made, observation), network_of(made)

        def bare(network: Any = network, tensor: Any = tensor) -> None:
            with torch.no_grad():
                network(tensor)

        predict = partial(made.predict, observation, deterministic=True)
        there = partial(made.policy.obs_to_tensor, observation)
        with torch.no_grad():
            action = network(tensor)
        for what, call in (
            ("predict", predict),
            ("network", bare),
            ("observation to the device", there),
            ("action from the device", action.cpu),
        ):
            findings.note(f"{algo} {name}: {what}, us", blocks(call, options))
        host = blocks(bare, options, wait_at_end=False)
        findings.note(f"{algo} {name}: network, host, us", host)
        counted = kernels_of(bare, options)
        findings.note(f"{algo} {name}: kernels", sum(count for count, _ in counted.values()))
        findings.note(f"{algo} {name}: kernels by name", counted)


def run(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Measure steps per second on HalfCheetah, learning at each; then profile Python."""
    count = QUICK_RUN_STEPS if options.quick else RUN_STEPS
    synchronize = synchronizer(options.device)
    for name in (kernel, "SB3"):
        changes = dict(learning_starts=200)
        make = (
            partial(ordinary, algo, options)
            if name == "SB3"
            else partial(spiking, algo, kernel, options)
        )
        agent: Any = make(environment(), **changes)
        seed_everything(options.seed)
        agent.learn(count // 6, reset_num_timesteps=False)
        synchronize()
        began = perf_counter()
        agent.learn(count, reset_num_timesteps=False)
        synchronize()
        rate = count / (perf_counter() - began)
        findings.note(f"{algo} {name}: steps/s on HalfCheetah-v4", round(rate, 1))
        if hasattr(agent, "loss_log"):
            findings.note(f"{algo} {name}: losses", agent.loss_log.drain(agent.num_timesteps))
        profile = cProfile.Profile()
        profile.enable()
        agent.learn(min(count, PROFILED_STEPS), reset_num_timesteps=False)
        profile.disable()
        text = io.StringIO()
        pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(30)
        findings.note(f"{algo} {name}: profile", text.getvalue().splitlines())


def rate(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Measure steps per second for a fixed time, for several such processes in parallel."""
    agent: Any = spiking(algo, kernel, options, environment(), learning_starts=200)
    agent.learn(300, reset_num_timesteps=False)
    seconds, steps = QUICK_RATE_SECONDS if options.quick else RATE_SECONDS, 0
    began = perf_counter()
    while perf_counter() - began < seconds:
        agent.learn(100, reset_num_timesteps=False)
        steps += 100
    findings.note("steps/s", round(steps / (perf_counter() - began), 1))


def memory(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Measure the speed of a large copy on the device, counting bytes read and written."""
    elements = 2**20 if options.quick else 2**29
    source = torch.randn(elements, device=options.device)
    target = torch.empty_like(source)
    taken = blocks(lambda: target.copy_(source), options)
    findings.note("copy, TB/s", round(2 * source.nbytes / taken / MICRO, 3))
