"""Random streams of a run: its seed determines the generators and seeds of its parts.

Stable-Baselines3 seeds weights, exploration and minibatches itself, from the run's seed. All other
randomness comes from here, under a name of its own.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

LARGEST = 2**31
"""Upper bound of derived seeds: smaller ones fit every generator."""


def stream(seed: int | None, name: str, *index: int) -> np.random.Generator:
    """Return a new generator, independent of those of other seeds, names or indices.

    It is a child of numpy's ``SeedSequence(seed)``, its spawn key the CRC-32 of the name and the
    index (https://numpy.org/doc/stable/reference/random/parallel.html). Sums such as ``seed + k``
    would give neighbouring seeds of a sweep the same numbers.

    :param seed: seed of the run; ``None``: another stream at each call
    :param name: purpose of the numbers
    :param index: index of an episode, a step, a process
    """
    key = (zlib.crc32(name.encode()), *index)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def child_seed(seed: int, name: str, *index: int) -> int:
    """Return a seed below 2**31 for code that needs a number: the first of :func:`stream`."""
    return int(stream(seed, name, *index).integers(LARGEST))


class Independent:
    """Seeding with an independent stream for each purpose."""

    def stream(self, seed: int | None, name: str, *index: int) -> np.random.Generator:
        """Return a new generator: see :func:`stream`."""
        return stream(seed, name, *index)

    def environment(self, seed: int, index: int) -> int:
        """Return the seed of a training environment; the first one's is the run's own."""
        return child_seed(seed, "environment", index) if index else seed


class Additive(Independent):
    """Streams of runs made when seeds were sums, to reproduce and resume them.

    Environment ``i`` has ``seed + i``. Names added later are independent here, too.
    """

    ENTROPY: dict[str, tuple[int, ...]] = {  # noqa: RUF012
        "recalibration/actor": (),
        "recalibration/q_network": (),
        "recalibration/critic": (1,),
        "episodes": (1,),
        "evaluation": (),
        "statistics": (),
    }

    def stream(self, seed: int | None, name: str, *index: int) -> np.random.Generator:
        """Return a new generator."""
        if seed is None or name not in self.ENTROPY:
            return super().stream(seed, name, *index)
        return np.random.default_rng([seed, *self.ENTROPY[name], *index])

    def environment(self, seed: int, index: int) -> int:
        """Return the seed of a training environment."""
        return seed + index


SEEDINGS: dict[str, Independent] = {"independent": Independent(), "additive": Additive()}
"""Seedings by their names in the setting ``seeding``."""


def global_states() -> dict[str, Any]:
    """Return the states of the global generators: Python's, numpy's, torch's of the CPU."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }


def restore_global_states(states: dict[str, Any]) -> None:
    """Restore the global generators to the states of :func:`global_states`."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"].cpu())


@contextmanager
def own_global_generators(seed: int) -> Iterator[None]:
    """Context in which the global generators start from ``seed``; their states are restored
    afterwards.

    :param seed: below 2**32
    """
    before = global_states()
    random.seed(seed)
    np.random.seed(seed)
    # Not torch.manual_seed, which seeds the GPUs' generators too.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        restore_global_states(before)
