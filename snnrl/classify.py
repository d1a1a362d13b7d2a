"""``python -m snnrl.classify``: train a classifier, or a sweep of them, with Hydra."""

from __future__ import annotations

import snnrl.starting  # noqa: F401  # before imports that take seconds

# isort: split
import sys

from snnrl.experiment.command import run_command
from snnrl.experiment.config.nodes import CLASSIFY


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param argv: arguments, those of the process if not given
    """
    return run_command(CLASSIFY, argv)


if __name__ == "__main__":
    sys.exit(main())
