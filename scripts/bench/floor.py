"""Matrix products that every gradient step needs, the floor of its time.

Every product has the shape that it has in the naive network. Left out are products whose result is
not used (the critic's weight gradients in the actor's loss), the decoder (a weighted sum of ten
rates) and everything elementwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from scripts.bench.agents import Sizes
from scripts.bench.timing import Call

FLOOR = "bare matrix products"
"""Name in the tables."""


class Product(NamedTuple):
    """Product ``[rows, inner] @ [inner, columns]``.

    :param kind: ``forward`` (x W'), ``weights`` (g' x) or ``inputs`` (g W), which decides which of
        the two is transposed in memory
    """

    kind: str
    rows: int
    inner: int
    columns: int


def forward(widths: Sequence[int], rows: int) -> list[Product]:
    """Return the products of ``rows`` inputs through linear layers of these widths."""
    return [Product("forward", rows, before, after) for before, after in pairwise(widths)]


def backward(
    widths: Sequence[int], rows: int, weights: bool = True, inputs: bool = False
) -> list[Product]:
    """Return the products of the backward pass.

    :param weights: whether gradients of the weights are needed
    :param inputs: whether gradients of the first layer's inputs are needed
    """
    found = []
    for place, (before, after) in enumerate(pairwise(widths)):
        if weights:
            found.append(Product("weights", after, rows, before))
        if inputs or place > 0:
            found.append(Product("inputs", rows, after, before))
    return found


def step(algo: str, of: Sizes) -> list[list[Product]]:
    """Return the products of consecutive gradient steps: two for TD3, the second with the actor."""
    outputs = 2 * of.actions if algo == "sac" else of.actions
    population = of.population
    actor = [of.observations * population, *of.hidden, outputs * population]
    spiking = of.time_steps * of.batch
    critic = [of.observations + of.actions, *of.hidden, 1]
    act = forward(actor, spiking)
    # The encoder learns means and deviations, which need the first layer's input gradients.
    learn_to_act = act + backward(actor, spiking, inputs=True)
    value = forward(critic, of.batch)
    learn_value = value + backward(critic, of.batch)
    judge = value + backward(critic, of.batch, weights=False, inputs=True)
    if algo == "td3":
        critics = act + 2 * value + 2 * learn_value
        return [critics, critics + learn_to_act + judge]
    if algo == "sac":
        return [learn_to_act + act + 2 * value + 2 * learn_value + 2 * judge]
    if algo == "ddpg":
        first, *rest = of.ddpg_critic
        early, late = [of.observations, first], [first + of.actions, *rest, 1]
        value = forward(early, of.batch) + forward(late, of.batch)
        learn_value = value + backward(early, of.batch) + backward(late, of.batch, inputs=True)
        # The action enters at the second layer, so no gradient passes the first.
        judge = value + backward(late, of.batch, weights=False, inputs=True)
        return [act + value + learn_value + judge + learn_to_act]
    if algo == "dqn":
        spiking = of.time_steps * of.dqn_batch
        hidden, last = [of.bytes, *of.q_network], [of.q_network[-1], of.choices]
        guess = forward(hidden, spiking) + forward(last, of.dqn_batch)
        back = backward(hidden, spiking) + backward(last, of.dqn_batch, inputs=True)
        return [guess + guess + back]
    assert algo == "ppo"
    spiking = of.time_steps * of.ppo_batch
    values = [of.observations, *of.values, 1]
    return [
        forward(actor, spiking)
        + backward(actor, spiking, inputs=True)
        + forward(values, of.ppo_batch)
        + backward(values, of.ppo_batch)
    ]


def act(of: Sizes, algo: str = "td3") -> list[Product]:
    """Return the products of one action."""
    if algo == "dqn":
        return forward([of.bytes, *of.q_network], of.time_steps) + forward(
            [of.q_network[-1], of.choices], 1
        )
    outputs = 2 * of.actions if algo == "sac" else of.actions
    widths = [of.observations * of.population, *of.hidden, outputs * of.population]
    return forward(widths, of.time_steps)


def multiply(products: Sequence[Product], device: str) -> Call:
    """Return a function that computes these products into memory that is already allocated."""
    generator = torch.Generator().manual_seed(0)

    def matrix(rows: int, columns: int, transposed: bool) -> torch.Tensor:
        shape = (columns, rows) if transposed else (rows, columns)
        made = torch.randn(shape, generator=generator).to(device)
        return made.t() if transposed else made

    ready = [
        (
            matrix(p.rows, p.inner, p.kind == "weights"),
            matrix(p.inner, p.columns, p.kind == "forward"),
            torch.empty(p.rows, p.columns, device=device),
        )
        for p in products
    ]

    def run() -> None:
        for left, right, out in ready:
            torch.mm(left, right, out=out)

    return run
