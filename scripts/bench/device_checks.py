"""Checks of bit equality on a GPU; times are in :mod:`scripts.bench.device_times`."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from scripts.bench.actions import some_observations
from scripts.bench.agents import spiking
from scripts.bench.findings import Findings
from scripts.bench.gate import relative_distance
from scripts.bench.options import Options
from snnrl.agents.replay.buffer import ReplayBuffer

STEPS = 40
"""Gradient steps of a check; both kinds of TD3's are captured after the eighth."""


def make(algo: str, kernel: str, options: Options, captured: bool = True) -> Any:
    """Return an agent of the published sizes with a full buffer; TD3 with target noise."""
    changes = dict(target_policy_noise=0.2) if algo == "td3" else {}
    agent: Any = spiking(algo, kernel, options, **changes)
    if not captured:
        agent.captured = None
    return agent


def train(agent: Any, seed: int, steps: int) -> Any:
    """Train an agent with a seed, one gradient step per call, and return it."""
    agent.set_random_seed(seed)
    for _ in range(steps):
        agent.train(gradient_steps=1, batch_size=agent.batch_size)
    return agent


def tensors(agent: Any) -> dict[str, Tensor]:
    """Return copies of all that learning changes: weights, moving statistics, moments, losses."""
    found: dict[str, Tensor] = dict(agent.policy.state_dict())
    for name, optimizer in agent._named_optimizers().items():
        for number, moments in enumerate(optimizer.state.values()):
            found |= {f"{name} {number} {key}": value for key, value in moments.items()}
    if getattr(agent, "log_ent_coef", None) is not None:
        found["log_ent_coef"] = agent.log_ent_coef.detach()
    found |= {f"sum of {name}": value for name, value in agent.loss_log._sums.items()}
    return {name: value.clone() for name, value in found.items()}


def differences(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Return the tensors whose bits differ, the farthest first, with their relative distance."""
    if one.keys() != other.keys():
        return [f"only one has {sorted(one.keys() ^ other.keys())[:4]}"]
    apart = {
        name: relative_distance(value, other[name])
        for name, value in one.items()
        if not torch.equal(value, other[name])
    }
    names = sorted(apart, key=lambda name: -apart[name])
    return [f"{len(apart)} of {len(one)}", *(f"{n}: {apart[n]:.2g}" for n in names[:4])] * bool(
        apart
    )


def same(findings: Findings, name: str, one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Expect two sets of tensors to have the same bits."""
    difference = differences(one, other)
    findings.expect(name, not difference, difference)


@contextmanager
def forbid_waiting() -> Iterator[None]:
    """Raise an error if the code inside waits for the device."""
    if not torch.cuda.is_available():
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def equal(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Compare captured and eager steps, each run twice; then replay, which must not wait."""
    agents = {}
    for name, captured in (("captured", True), ("eager", False)):
        first = train(make(algo, kernel, options, captured), 7, STEPS)
        if captured:
            is_captured = first.captured is not None
            findings.expect(f"{algo} {kernel} is captured", is_captured)
        second = train(make(algo, kernel, options, captured), 7, STEPS)
        same(findings, f"{algo} {kernel}: {name} twice", tensors(first), tensors(second))
        agents[name] = first
    found = {name: tensors(agent) for name, agent in agents.items()}
    same(findings, f"{algo} {kernel}: captured as eager", found["captured"], found["eager"])
    if agents["captured"].captured is not None:
        graphs = agents["captured"].captured._steps.values()
        findings.note(f"{algo} {kernel}: graphs", sum(step._replay is not None for step in graphs))
    for agent in agents.values():
        agent.set_random_seed(8)
        with forbid_waiting():
            for _ in range(6):
                agent.train(gradient_steps=1, batch_size=agent.batch_size)
    findings.expect(f"{algo} {kernel}: nothing waits for the device", True)
    found = {name: tensors(agent) for name, agent in agents.items()}
    same(findings, f"{algo} {kernel}: and after these", found["captured"], found["eager"])
    findings.note(f"{algo} {kernel}: losses", agents["captured"].loss_log.drain(0))


def resumed(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Compare an agent that is saved halfway and loaded with one that trains on."""
    agent = train(make(algo, kernel, options), 7, STEPS // 2)
    with tempfile.TemporaryDirectory() as folder:
        agent.save(Path(folder) / "agent")
        loaded: Any = type(agent).load(Path(folder) / "agent", agent.env, device=options.device)
    loaded.replay_buffer = deepcopy(agent.replay_buffer)
    # An agent's file has no losses: the run that saves it keeps or drains them.
    loaded.loss_log = deepcopy(agent.loss_log)
    findings.expect(
        f"{algo} {kernel}: loaded is captured",
        (loaded.captured is None) == (agent.captured is None),
    )
    same(findings, f"{algo} {kernel}: as saved", tensors(agent), tensors(loaded))
    for one in (agent, loaded):
        train(one, 9, STEPS // 2)
    same(findings, f"{algo} {kernel}: saved and resumed", tensors(agent), tensors(loaded))


def copied(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Train a copy beside the original and delete it: neither may change the other."""
    first = train(make(algo, kernel, options), 1, 12)
    copy = deepcopy(first)
    train(copy, 9, 12)
    train(first, 2, 12)
    train(copy, 10, 6)
    there = tensors(copy)
    del copy
    gc.collect()
    poison(options)
    train(first, 3, 12)
    alone = make(algo, kernel, options)
    for seed in (1, 2, 3):
        train(alone, seed, 12)
    same(findings, f"{algo} {kernel}: the first", tensors(first), tensors(alone))
    other = make(algo, kernel, options, captured=False)
    for seed, steps in ((1, 12), (9, 12), (10, 6)):
        train(other, seed, steps)
    same(findings, f"{algo} {kernel}: the copy, as eager", there, tensors(other))


def acted(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Compare captured and eager actions while the networks learn, singly and ten at once."""
    agents = [make(algo, kernel, options, captured) for captured in (True, False)]
    made: list[list[np.ndarray]] = [[], []]
    for seed in range(3):
        for agent, found in zip(agents, made, strict=True):
            train(agent, seed, 6)
            found += [decided(agent, seed, deterministic) for deterministic in (True, False)]
            agent.recalibrate()
    wrong = [int((one != other).sum()) for one, other in zip(*made, strict=True)]
    findings.expect(f"{algo} {kernel}: decisions as eager", not any(wrong), wrong)
    steps = [] if agents[0].captured is None else agents[0].acting._steps.values()
    graphs = sum(step._replay is not None for step in steps)
    findings.expect(f"{algo} {kernel}: decisions are captured", graphs == 4, f"{graphs} of 4")


def decided(agent: Any, seed: int, deterministic: bool) -> np.ndarray:
    """Return the actions for observations of a seed, singly and as a batch."""
    observations = some_observations(agent.observation_space, seed)[:10]
    agent.set_random_seed(seed)
    if hasattr(agent, "exploration_rate"):
        agent.exploration_rate = 0.0
    alone = [agent.predict(one, deterministic=deterministic)[0] for one in observations]
    together = [agent.predict(observations, deterministic=deterministic)[0] for _ in range(5)]
    return np.concatenate([np.stack(alone), *together])


def poison(options: Options) -> None:
    """Fill free memory with NaN, which reveals any further use of it."""
    if options.device != "cuda":
        return
    torch.cuda.empty_cache()
    torch._C._cuda_clearCublasWorkspaces()
    kept = [
        torch.full((size,), float("nan"), device=options.device)
        for size in (2**28, 2**24, 2**24, *[2**20] * 16, *[2**12] * 256)
    ]
    torch.cuda.synchronize()
    del kept


def resident(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Compare minibatches of a busy device with those of numpy, also where the buffer wraps."""
    space, actions = spaces.Box(-1, 1, (17,)), spaces.Box(-1, 1, (6,))
    device = options.device
    mine, theirs = (ReplayBuffer(97, space, actions, device=d, n_envs=2) for d in (device, "cpu"))
    generator = np.random.default_rng(options.seed)
    busy = torch.randn(2048, 2048, device=device)
    expected, found = [], []
    for trial in range(300):
        for _ in range(int(generator.integers(1, 60))):
            row = [
                generator.normal(size=(2, 17)).astype(np.float32),
                generator.normal(size=(2, 17)).astype(np.float32),
                generator.normal(size=(2, 6)).astype(np.float32),
                generator.normal(size=2).astype(np.float32),
                generator.integers(0, 2, 2).astype(np.float32),
            ]
            infos: list[dict[str, Any]] = [{"TimeLimit.truncated": trial % 3 == 0}, {}]
            for buffer in (mine, theirs):
                buffer.add(*row, infos)
        if trial % 8 == 0 and device == "cuda":
            busy = busy @ busy / busy.norm()
        batches = []
        for buffer in (mine, theirs):
            np.random.seed(trial)
            batches.append(buffer.sample(64))
        found.append(torch.cat([part.flatten() for part in batches[0] if part is not None]))
        expected.append(torch.cat([part.flatten() for part in batches[1] if part is not None]))
    wrong = sum(
        not torch.equal(one.cpu(), other) for one, other in zip(found, expected, strict=True)
    )
    findings.note("is resident", mine._on_device is not None)
    findings.expect("300 minibatches as numpy's", wrong == 0, f"{wrong} differ")


def fits(algo: str, kernel: str, options: Options, findings: Findings) -> None:
    """Train PPO on a rollout on the device, twice: weights must be finite and the same."""
    agents = [spiking("ppo", kernel, options) for _ in range(2)]
    for agent in agents:
        agent.set_random_seed(7)
        agent.train()
    states = [dict(agent.policy.state_dict()) for agent in agents]
    finite = all(torch.isfinite(value).all() for value in states[0].values())
    findings.expect(f"ppo {kernel}: finite", bool(finite))
    same(findings, f"ppo {kernel}: twice", *states)
