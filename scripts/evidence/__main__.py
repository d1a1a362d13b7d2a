"""Command line of the queue: ``python -m scripts.evidence``, called by ``scripts/evidence.sh``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from scripts.evidence.place import from_environment
from snnrl.errors import UserError, exit_status, with_short_errors

COMMANDS = {
    "start": "start the queue, or resume it",
    "status": "one line per run: steps, return, hours left",
    "stop": "save all runs and stop",
    "collect": "copy records of the runs to results/paper/",
    "page": "make the page of results/paper/",
}


def main(argv: Sequence[str]) -> int:
    """Return the exit status: 0, 1 if a run failed, 2 for a user error, 128 + a signal's number."""
    return exit_status(lambda: _do(argv))


def _do(argv: Sequence[str]) -> None:
    arguments = with_short_errors(_parser()).parse_args(argv)
    for name in ("foreground", "retry"):
        if getattr(arguments, name) and arguments.command != "start":
            raise UserError(f"--{name}: expected with start, not {arguments.command}")
    place = from_environment(os.environ)
    try:
        # Imported per command, so that the queue holds no memory for the other commands.
        if arguments.command == "start":
            from scripts.evidence.start import start

            start(place, foreground=arguments.foreground, retry=arguments.retry)
        elif arguments.command == "stop":
            from scripts.evidence.start import stop

            stop(place)
        elif arguments.command == "status":
            from scripts.evidence.status import status

            status(place)
        elif arguments.command == "collect":
            from scripts.evidence.collect import collect

            collect(place)
        else:
            from scripts.evidence.page import make_page

            make_page(place)
    except OSError as problem:
        where = problem.filename or place.folder
        raise UserError(f"{where}: {problem.strerror or problem}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scripts/evidence.sh",
        description="Long runs at published settings, in the background.",
        epilog="; ".join(f"{name}: {what}" for name, what in COMMANDS.items()),
    )
    parser.add_argument("command", nargs="?", default="start", choices=COMMANDS)
    parser.add_argument(
        "--foreground",
        action="store_true",
        help="start: run the queue in the foreground (in a batch job)",
    )
    parser.add_argument(
        "--retry",
        action="store_true",
        help="start: retry runs that failed twice with the same error",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
