"""Time of a whole gradient step of each algorithm, from the minibatch to the target networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor, nn

from scripts.bench.agents import (
    FixedMinibatches,
    minibatches,
    ordinary,
    seed_everything,
    sizes,
    spiking,
)
from scripts.bench.floor import FLOOR, multiply, step
from scripts.bench.gate import Outcome, Tolerance
from scripts.bench.kernels import kernels
from scripts.bench.options import Options
from scripts.bench.published import PUBLISHED, StepwiseTD3, own_name
from scripts.bench.race import Contestant, Ready, Table, add_ratios, race
from scripts.bench.threads import ALONE
from snnrl.agents.updates.cuda_graphs import EAGER_STEPS
from snnrl.nn.layers import SpikingLayer
from snnrl.nn.norm.batch import PooledBatchNorm

LEARNED_STEPS = 20
CHECKED_STEPS = 2

# For how far weights and statistics moved, which is a small difference of two large numbers.
TOLERANCE = Tolerance(values=2e-3, values_after_flips=0.2, trials=5)

NOTES = {
    "td3": "averaged over a step without and one with the actor's update",
    "ppo": "an epoch's minibatch, its share of the refresh of the statistics included; the floor "
    "is without the refresh",
}


def measure(options: Options) -> list[Table]:
    """Return a table for each algorithm."""
    tables = []
    for algo in options.algorithms:
        torch._dynamo.reset()
        note = NOTES.get(algo, "")
        entrants = contestants(algo, options)
        case = f"{algo}, one gradient step"
        for table in race("steps", case, entrants, options, TOLERANCE, note):
            add_ratios(table, PUBLISHED, FLOOR)
            tables.append(table)
    return tables


def contestants(algo: str, options: Options) -> list[Contestant]:
    """Return our backends, the published loop (TD3), the floor and Stable-Baselines3's agent."""
    shared = Shared(algo, options)
    found = [Contestant(kernel, partial(ours, kernel, shared)) for kernel in kernels(options)]
    if options.threads > 1 and "native" in kernels(options):
        found.append(Contestant(ALONE, partial(ours, "native", shared)))
    if options.device == "cuda" and algo != "ppo":
        found += [
            Contestant(f"{kernel}, not captured", partial(ours, kernel, shared, captured=False))
            for kernel in kernels(options)
        ]
    if algo == "td3":
        found.append(Contestant(PUBLISHED, lambda: published(shared)))
    found.append(Contestant(FLOOR, lambda: floor(algo, options)))
    found.append(Contestant("SB3, ordinary networks", lambda: stock(algo, options)))
    return found


class Shared:
    """Common start of all contestants of an algorithm: weights, and minibatches or a rollout.

    The weights are trained for a while and copied to the targets, so that neurons fire as in the
    middle of a run. An untrained network in evaluation mode does not spike.

    :param algo: one of :data:`scripts.bench.options.ALGORITHMS`
    """

    def __init__(self, algo: str, options: Options):
        self.algo = algo
        self.options = options
        self.first: Any = spiking(algo, "naive", options)
        one = stepper(self.first).timed[""]
        for _ in range(1 if algo == "ppo" else LEARNED_STEPS // 2):
            one()
        for target, online in (("actor_target", "actor"), ("q_net_target", "q_net")):
            if getattr(self.first, target, None) is not None:
                getattr(self.first, target).load_state_dict(
                    getattr(self.first, online).state_dict()
                )
        self.start = deepcopy(self.first.policy.state_dict())

    def minibatches(self, trial: int) -> list[ReplayBufferSamples]:
        """Return the minibatches of a trial."""
        return minibatches(self.first, CHECKED_STEPS, self.options.seed + trial)

    def agent(self, kernel: str, **changes: Any) -> Any:
        """Return an agent with these weights, and for PPO with this rollout."""
        agent: Any = spiking(self.algo, kernel, self.options, **changes)
        agent.policy.load_state_dict(self.start)
        if self.algo == "ppo":
            agent.rollout_buffer = deepcopy(self.first.rollout_buffer)
        return agent


def ours(kernel: str, shared: Shared, captured: bool = True) -> Ready:
    """Return our agent with one of our backends.

    :param captured: whether steps are captured as graphs on CUDA; otherwise they are eager
    """

    def build(**changes: Any) -> Any:
        agent = shared.agent(kernel, **changes)
        if not captured:
            agent.captured = None
        return agent

    def outcome(trial: int) -> Outcome:
        agent = build(gentle=True)
        if getattr(agent, "captured", None) is not None:
            rehearse(agent, shared)
        return learned(agent, shared, trial)

    return replace(stepper(build()), outcome=outcome)


def published(shared: Shared) -> Ready:
    """Return the published loop, which samples from a buffer of float64 observations."""
    agent = StepwiseTD3(shared.agent("naive", replay_buffer_class=ReplayBuffer))

    def outcome(trial: int) -> Outcome:
        return stepwise_learned(StepwiseTD3(shared.agent("naive", gentle=True)), shared, trial)

    return Ready({"": twice(agent.train)}, outcome, 2)


def floor(algo: str, options: Options) -> Ready:
    """Return the matrix products alone."""
    consecutive = step(algo, sizes(options))
    products = [product for products in consecutive for product in products]
    return Ready({"": multiply(products, options.device)}, per_call=len(consecutive))


def stock(algo: str, options: Options) -> Ready:
    """Return Stable-Baselines3's own agent, with its own optimiser settings."""
    return stepper(ordinary(algo, options))


def stepper(agent: Any) -> Ready:
    """Return gradient steps of any agent, from its own buffer."""
    if isinstance(agent, PPO):
        minibatches_in_all = agent.n_steps // agent.batch_size * agent.n_epochs
        return Ready({"": agent.train}, per_call=minibatches_in_all)

    def one() -> None:
        agent.train(gradient_steps=1, batch_size=agent.batch_size)

    return Ready({"": twice(one)}, per_call=2)


def twice(one: Callable[[], object]) -> Callable[[], None]:
    """Return a call of two steps, so that TD3 takes one of each kind."""

    def two() -> None:
        one()
        one()

    return two


def rehearse(agent: Any, shared: Shared) -> None:
    """Learn until both kinds of gradient step are captured, then undo the learning in place.

    The gate then compares replays of the graphs.
    """
    temperature = getattr(agent, "log_ent_coef", None)
    before = None if temperature is None else temperature.detach().clone()
    for _ in range(2 * (EAGER_STEPS + 1)):
        agent.train(gradient_steps=1, batch_size=agent.batch_size)
    agent.policy.load_state_dict(shared.start)
    optimizers = [*agent._optimizers(), getattr(agent, "ent_coef_optimizer", None)]
    with torch.no_grad():
        if temperature is not None and before is not None:
            temperature.copy_(before)
        for optimizer in filter(None, optimizers):
            for moments in optimizer.state.values():
                for value in moments.values():
                    value.zero_()


def learned(agent: Any, shared: Shared, trial: int) -> Outcome:
    """Return how far a few steps on the shared experience move weights and statistics."""
    if shared.algo != "ppo":
        agent.replay_buffer = FixedMinibatches(shared.minibatches(trial))
    seed_everything(shared.options.seed + trial)
    if shared.algo == "ppo":
        agent.train()
    else:
        for _ in range(CHECKED_STEPS):
            agent.train(gradient_steps=1, batch_size=agent.batch_size)
    return movement(agent.policy.state_dict(), shared)


def stepwise_learned(agent: StepwiseTD3, shared: Shared, trial: int) -> Outcome:
    """Return the same for the published loop, with our names."""
    agent.replay_buffer = FixedMinibatches(shared.minibatches(trial))
    seed_everything(shared.options.seed + trial)
    for _ in range(CHECKED_STEPS):
        agent.train()
    state: dict[str, Tensor] = {}
    for part in ("actor", "actor_target", "critic", "critic_target"):
        network: nn.Module = getattr(agent, part)
        for name, value in network.state_dict().items():
            own = own_name(name) if part.startswith("actor") else name
            state[f"{part}.{own}"] = value
    return movement(state, shared)


def movement(state: Mapping[str, Tensor], shared: Shared) -> Outcome:
    """Return ``after - before`` of every weight and every moving statistic.

    Left out are biases before a normalisation, whose gradient is 0 except for rounding, and the
    state of the confidence update, which the published loop keeps elsewhere.
    """
    skipped = biases_before_normalisation(shared.first.policy)
    return Outcome(
        {
            name: state[name].reshape(before.shape) - before
            for name, before in shared.start.items()
            if name not in skipped and ".update." not in name
        }
    )


def biases_before_normalisation(policy: nn.Module) -> set[str]:
    """Return the names of biases that the normalisation after them subtracts."""
    return {
        f"{name}.linear.bias"
        for name, layer in policy.named_modules()
        if isinstance(layer, SpikingLayer) and isinstance(layer.norm, PooledBatchNorm)
    }
