"""Options that several commands about a run folder have."""

from __future__ import annotations

from argparse import ArgumentParser

from snnrl.errors import UserError
from snnrl.experiment.reproduction.saved_model import MODELS

EPISODES, EPISODES_SEED = 10, 10_000
"""Of a command that plays episodes, where it is not told others."""


def add_model(parser: ArgumentParser) -> None:
    """Add ``--model`` and ``--unpickle``."""
    parser.add_argument("--model", choices=MODELS, default="best", help="which weights")
    parser.add_argument(
        "--unpickle",
        action="store_true",
        help="read statistics that an earlier version kept as a pickle; runs code that the file "
        "may hold",
    )


def add_module(parser: ArgumentParser) -> None:
    """Add ``--module``, which can be given several times."""
    parser.add_argument(
        "--module",
        action="append",
        default=[],
        metavar="NAME",
        help="import this module, which has the run's environment or is a plugin of it; its code "
        "runs",
    )


def check_episodes(episodes: int | None, seed: int | None) -> None:
    """Check ``--episodes`` and ``--seed``; ``None``: not given.

    :raises UserError: no episode, or a seed below 0
    """
    for name, value, lowest in (("--episodes", episodes, 1), ("--seed", seed, 0)):
        if value is not None and value < lowest:
            raise UserError(f"{name} {value}: expected at least {lowest}")
