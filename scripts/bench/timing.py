"""Times of several contestants, which take turns."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import perf_counter
from typing import NamedTuple

WARM_UP_CALLS = 3

Call = Callable[[], object]


class Summary(NamedTuple):
    """Seconds: median and quartiles of a number of turns."""

    median: float
    lower: float
    upper: float
    turns: int


def orders(contestants: Iterable[str], rounds: int) -> Iterator[list[str]]:
    """Yield the order of each round; every round starts with another contestant."""
    names = list(contestants)
    for turn in range(rounds):
        first = turn % max(len(names), 1)
        yield names[first:] + names[:first]


def take_turns(
    contestants: Mapping[str, Call],
    rounds: int,
    block_seconds: float,
    synchronize: Callable[[], None],
) -> dict[str, list[float]]:
    """Return the seconds of one call, in each of ``rounds`` turns that go round robin.

    Other load on the machine then affects all contestants alike. A turn is a block of calls, as
    many as fill ``block_seconds``. Each round starts with another contestant.

    :param contestants: name -> call to time
    :param synchronize: function that waits for the device
    """
    calls = {
        name: _calls_in(call, block_seconds, synchronize) for name, call in contestants.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for order in orders(contestants, rounds):
        for name in order:
            taken = _block(contestants[name], calls[name], synchronize)
            seconds[name].append(taken / calls[name])
    return seconds


def summarise(seconds: list[float]) -> Summary:
    """Return the median and quartiles of the turns."""
    if len(seconds) == 1:
        return Summary(seconds[0], seconds[0], seconds[0], 1)
    lower, median, upper = statistics.quantiles(seconds, n=4, method="inclusive")
    return Summary(median, lower, upper, len(seconds))


def _calls_in(call: Call, block_seconds: float, synchronize: Callable[[], None]) -> int:
    _block(call, WARM_UP_CALLS, synchronize)
    once = _block(call, 1, synchronize)
    return max(1, math.ceil(block_seconds / max(once, 1e-9)))


def _block(call: Call, calls: int, synchronize: Callable[[], None]) -> float:
    synchronize()
    start = perf_counter()
    for _ in range(calls):
        call()
    synchronize()
    return perf_counter() - start
