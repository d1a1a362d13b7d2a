"""Time of one action: from a numpy observation to a numpy action, and of the network alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from scripts.bench.agents import ordinary, sizes
from scripts.bench.floor import FLOOR, act, multiply
from scripts.bench.gate import Outcome, Tolerance
from scripts.bench.kernels import kernels
from scripts.bench.options import Options
from scripts.bench.published import PUBLISHED, StepwiseTD3
from scripts.bench.race import Contestant, Ready, Table, add_ratios, race
from scripts.bench.steps import Shared

PREDICT, NETWORK = "predict", "network"

TOLERANCE = Tolerance(values_after_flips=0.1, trials=4)
CHECKED = 16


def measure(options: Options) -> list[Table]:
    """Return two tables per algorithm: ``predict`` and the network alone."""
    tables = []
    for algo in options.algorithms:
        torch._dynamo.reset()
        entrants = contestants(algo, options)
        for table in race("actions", f"{algo}, one action", entrants, options, TOLERANCE):
            add_ratios(table, PUBLISHED, FLOOR)
            tables.append(table)
    return tables


def contestants(algo: str, options: Options) -> list[Contestant]:
    """Return our backends, the published loop (TD3), the floor and Stable-Baselines3's agent."""
    shared = Shared(algo, options)
    observations = some_observations(shared.first.observation_space, options.seed)
    found = [
        Contestant(kernel, partial(ours, kernel, shared, observations))
        for kernel in kernels(options)
    ]
    if algo == "td3":
        found.append(Contestant(PUBLISHED, lambda: published(shared, observations)))
    products = act(sizes(options), algo)
    floor = Ready(dict.fromkeys((PREDICT, NETWORK), multiply(products, options.device)))
    found.append(Contestant(FLOOR, lambda: floor))
    stock = "SB3, ordinary networks"
    found.append(Contestant(stock, lambda: without_gate(ordinary(algo, options), observations)))
    return found


def some_observations(space: spaces.Space[Any], seed: int) -> np.ndarray:
    """Return ``[CHECKED * trials, ...]``, with the distribution that the agents learn from."""
    assert isinstance(space, spaces.Box)
    generator = np.random.default_rng(seed)
    shape = (CHECKED * TOLERANCE.trials, *space.shape)
    if space.dtype == np.uint8:
        return generator.integers(0, 256, shape, dtype=np.uint8)
    return generator.normal(size=shape).astype(space.dtype)


def of_trial(observations: np.ndarray, trial: int) -> np.ndarray:
    """Return the observations of a trial."""
    return observations[trial * CHECKED : (trial + 1) * CHECKED]


def ours(kernel: str, shared: Shared, observations: np.ndarray) -> Ready:
    """Return our agent; the gate compares the outputs of its network for single observations."""
    agent = shared.agent(kernel)
    ready = without_gate(agent, observations)
    network = network_of(agent)

    def outcome(trial: int) -> Outcome:
        tensors = [as_tensor(agent, one) for one in of_trial(observations, trial)]
        with torch.no_grad():
            return Outcome({"outputs": torch.cat([network(one) for one in tensors])})

    return Ready(ready.timed, outcome)


def published(shared: Shared, observations: np.ndarray) -> Ready:
    """Return the published loop; ``predict`` records a graph, as published, the network none."""
    agent = StepwiseTD3(shared.agent("naive"))
    first, tensor = observations[0], as_tensor(shared.first, observations[0])

    def bare() -> Tensor:
        with torch.no_grad():
            actions: Tensor = agent.actor(tensor)
        return actions

    def outcome(trial: int) -> Outcome:
        acted = np.stack([agent.act(one) for one in of_trial(observations, trial)])
        return Outcome({"outputs": torch.as_tensor(acted, device=shared.first.device)})

    return Ready({PREDICT: lambda: agent.act(first), NETWORK: bare}, outcome)


def without_gate(agent: Any, observations: np.ndarray) -> Ready:
    """Return any agent of Stable-Baselines3, whose outputs are not compared."""
    network, first = network_of(agent), observations[0]
    tensor = as_tensor(agent, first)

    def bare() -> Tensor:
        with torch.no_grad():
            return network(tensor)

    return Ready({PREDICT: lambda: agent.predict(first, deterministic=True), NETWORK: bare})


def network_of(agent: Any) -> Callable[[Tensor], Tensor]:
    """Return the deterministic network, ``[B, ...]`` to actions or values, in evaluation mode."""
    policy = agent.policy
    policy.set_training_mode(False)
    if hasattr(policy, "q_net"):
        values: Callable[[Tensor], Tensor] = policy.q_net
        return values
    if hasattr(policy, "action_net"):
        return lambda one: policy.get_distribution(one).mode()
    return lambda one: policy.actor._predict(one, deterministic=True)


def as_tensor(agent: Any, observation: np.ndarray) -> Tensor:
    """Return ``[1, ...]`` on the agent's device, in the dtype that its network takes."""
    tensor, _ = agent.policy.obs_to_tensor(observation)
    return tensor if tensor.dtype == torch.uint8 else tensor.float()
