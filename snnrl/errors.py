"""Errors shown to the user: jobs raise them, commands turn them into a line and an exit status."""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

from snnrl.memory import is_memory_error, memory_message
from snnrl.output import resilient_output, wait_for_readers
from snnrl.starting import imported
from snnrl.text import one_line


class UserError(Exception):
    """A user error: printed as one line, exit status 2."""


class RunFailed(Exception):
    """A run that started and could not continue: recorded in its folder, exit status 1."""


class NonFiniteError(RunFailed):
    """A NaN or an infinity where training needs a number; the message names the tensor and the
    step."""

    def __init__(self, tensor: str, step: int):
        super().__init__(f"{tensor} is not finite at step {step}")


class Interrupted(BaseException):
    """A run stopped by a signal after saving itself. It ends a whole sweep, as Ctrl-C does.

    :param signal_number: the signal, so that the command can exit with 128 + signal_number
    """

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.signal_number = signal_number


def with_short_errors(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Return the parser, which now raises :class:`UserError` rather than print its usage."""

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the options")

    parser.error = refuse  # type: ignore[method-assign]
    return parser


def exit_status(
    command: Callable[[], int | None],
    at_once: str = "stopped at once",
    *,
    output_is_result: bool = False,
) -> int:
    """Run a command; on an error, print one line to stderr.

    :param command: its own exit status, ``None`` for 0
    :param at_once: message when Ctrl-C stopped it where nothing could be saved
    :param output_is_result: whether it fails if its standard output cannot be written
    :return: the command's status; 2 a user error, 1 a failed run or too little memory, 128 + the
        signal number
    """
    with resilient_output():
        status, line = _outcome(command, at_once)
        sys.stdout.flush()
        failure = getattr(sys.stdout, "failure", None)
        if output_is_result and status == 0 and failure is not None:
            status, line = 1, f"failed: standard output: {failure.strerror}"
        if line:
            print(one_line(line), file=sys.stderr)
        return status


def _outcome(command: Callable[[], int | None], at_once: str) -> tuple[int, str]:
    try:
        imported()
        _check_working_folder()
        return command() or 0, ""
    except UserError as mistake:
        return 2, f"error: {mistake}"
    except RunFailed as failure:
        return 1, f"failed: {failure}"
    except Interrupted as interrupted:
        return 128 + interrupted.signal_number, str(interrupted)
    except KeyboardInterrupt:
        wait_for_readers(False)
        return 128 + signal.SIGINT, at_once
    except (MemoryError, RuntimeError, OSError) as problem:
        if not is_memory_error(problem):
            raise
        return 1, memory_message(describe(problem))


def _check_working_folder() -> None:
    """Check that the working folder exists, as Hydra and relative paths need it.

    :raises UserError: it was removed
    """
    try:
        os.getcwd()
    except OSError as problem:
        raise UserError(
            f"the working folder no longer exists ({problem.strerror}); expected an existing one"
        ) from None


def describe(failure: BaseException) -> str:
    """Return ``ZeroDivisionError: division by zero``: the type and the first line of the
    message."""
    first, _, _ = str(failure).partition("\n")
    return f"{type(failure).__name__}: {first}" if first else type(failure).__name__


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the choice nearest to ``name``, or an empty string."""
    found = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f"; did you mean '{found[0]}'?" if found else ""


def expect(key: str, value: str, choices: Iterable[str], *, others: Iterable[str] = ()) -> None:
    """Check that ``value`` is one of ``choices``.

    :param key: setting of the value, named in the error
    :param others: values that are no words and allowed too, as in ``a number`` or ``null``
    :raises UserError: it is not; the message lists the choices and offers the nearest
    """
    choices = list(choices)
    if value not in choices:
        *most, last = [*others, *choices]
        listed = f"{', '.join(most)} or {last}" if others else f"one of {', '.join(choices)}"
        raise UserError(f"{key}={value}: expected {listed}{nearest(str(value), choices)}")
