"""Command line of the benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from snnrl.errors import UserError, expect, with_short_errors

MEASURES = ("operators", "actor", "steps", "actions", "end_to_end", "ready")
ALGORITHMS = ("td3", "ddpg", "sac", "dqn", "ppo")
KINDS = ("lif", "lif-triangle", "clif", "dn", "normalised-lif")
DEVICES = ("auto", "cpu", "cuda")

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Options:
    """Options of the benchmark.

    :param only: measures to run, out of :data:`MEASURES`
    :param quick: tiny sizes and few rounds, which show that everything runs, but no speed
    :param threads: CPU threads of torch
    :param device: ``cpu`` or ``cuda``
    :param kernels: backends to measure; ``None``: all that this device has
    :param algorithms: algorithms to measure, out of :data:`ALGORITHMS`
    :param kinds: neurons of the operators, out of :data:`KINDS`
    :param shapes: ``(T, B, N)`` of the operators; ``None``: the usual ones
    :param alone: whether to leave out other libraries' neurons
    :param seed: seed of inputs, weights and environments
    :param out: folder of the results
    """

    only: tuple[str, ...] = MEASURES
    quick: bool = False
    threads: int = 1
    device: str = "cpu"
    kernels: tuple[str, ...] | None = None
    algorithms: tuple[str, ...] = ALGORITHMS
    kinds: tuple[str, ...] = KINDS
    shapes: tuple[Shape, ...] | None = None
    alone: bool = False
    seed: int = 0
    out: Path = Path("results/benchmarks")

    @property
    def rounds(self) -> int:
        """Number of turns of each contestant."""
        return 3 if self.quick else 11

    @property
    def block_seconds(self) -> float:
        """Shortest duration of a turn."""
        return 0.001 if self.quick else 0.05


def parse(arguments: Sequence[str]) -> Options:
    """Return the options of a command line; ``device`` is as given, so it may be ``auto``.

    :raises UserError: a name is unknown, or a value is invalid
    """
    given = vars(_parser().parse_args(arguments))
    return Options(**{key: value for key, value in given.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    for name, choices in (
        ("only", MEASURES),
        ("algorithms", ALGORITHMS),
        ("kinds", KINDS),
    ):
        parser.add_argument(
            f"--{name}", type=_names(name, choices), help=f"some of {','.join(choices)}"
        )
    parser.add_argument("--kernels", type=_list, help="backends, for example naive,compile")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a smoke test")
    parser.add_argument("--alone", action="store_true", help="leave out other libraries")
    parser.add_argument("--threads", type=_at_least(1), help="CPU threads of torch (1)")
    parser.add_argument("--device", type=_names("device", DEVICES, one=True), default="auto")
    parser.add_argument("--shapes", type=_shapes, help="of operators, for example 5x256x256,8x64x1")
    parser.add_argument("--seed", type=_at_least(0), help="of inputs, weights and environments (0)")
    parser.add_argument("--out", type=Path, help="folder for the results (results/benchmarks)")
    return with_short_errors(parser)


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _at_least(minimum: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isdigit() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text}: expected an integer of at least {minimum}")
        return int(text)

    return convert


def _names(key: str, choices: Sequence[str], one: bool = False) -> Callable[[str], object]:
    def convert(text: str) -> object:
        for name in _list(text):
            expect(f"--{key}", name, choices)
        return text if one else _list(text)

    return convert


def _shapes(text: str) -> tuple[Shape, ...]:
    shapes = []
    for shape in _list(text):
        sizes = shape.split("x")
        if len(sizes) != 3 or not all(size.isdigit() and int(size) for size in sizes):
            raise UserError(f"--shapes={shape}: expected TxBxN, for example 5x256x256")
        t, b, n = map(int, sizes)
        shapes.append((t, b, n))
    return tuple(shapes)
