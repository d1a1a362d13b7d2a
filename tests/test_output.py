"""What is printed outlasts its readers, and a reader that waits does not hold a signal up."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO

import pytest
from tqdm import tqdm

from snnrl.errors import RunFailed, UserError, exit_status
from snnrl.experiment.progress import Progress
from snnrl.experiment.signals import stop_on_signals
from snnrl.output import ResilientStream, resilient_output, wait_for_readers, write_now


class Pipe:
    """A pipe whose writing end is a stream of text."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self.writer = os.fdopen(writer, "w")

    def fill(self) -> None:
        """Write until no more fits in."""
        os.set_blocking(self.writer.fileno(), False)
        try:
            while True:
                os.write(self.writer.fileno(), b"x" * 1024)
        except BlockingIOError:
            os.set_blocking(self.writer.fileno(), True)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    wait_for_readers(True)
    for close in (lambda: os.close(pipe.reader), pipe.writer.close):
        with suppress(OSError):
            close()


@contextmanager
def printing_to(stream: Any) -> Iterator[None]:
    with redirect_stdout(stream), redirect_stderr(stream):
        yield


@pytest.fixture
def no_reader(pipe: Pipe) -> TextIO:
    """A stream whose reader has gone away."""
    os.close(pipe.reader)
    return pipe.writer


@pytest.mark.filterwarnings("ignore:a warning")
def test_nothing_fails_where_nobody_reads(no_reader: TextIO) -> None:
    with printing_to(no_reader), pytest.raises(BrokenPipeError):
        print("a line", flush=True)
    with printing_to(no_reader), resilient_output():
        print("a line", flush=True)
        print("x" * 100_000)
        tqdm.write("another", file=sys.stderr)
        warnings.warn("a warning", stacklevel=1)
        sys.stdout.writelines(["one", "two"])
        for _ in tqdm(range(3), mininterval=0):
            pass
    # What libraries write, and what is left in the buffer, goes nowhere too.
    os.write(no_reader.fileno(), b"from C")
    no_reader.write("at the exit")
    no_reader.flush()


@pytest.mark.parametrize(
    ("command", "status"),
    [(0, 0), (7, 7), (UserError("no"), 2), (RunFailed("no"), 1), (KeyboardInterrupt(), 130)],
)
def test_the_exit_status_is_the_command_s(
    command: int | BaseException, status: int, no_reader: TextIO
) -> None:
    def run() -> int:
        print("a line", flush=True)
        if isinstance(command, BaseException):
            raise command
        return command

    with printing_to(no_reader):
        assert exit_status(run) == status


def test_a_bar_where_nobody_reads(no_reader: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    with printing_to(no_reader), resilient_output():
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        progress = Progress("a run", 100)
        progress.step_to(50)
        progress.say("a line")
        progress.evaluated(50, 1.0, 0.0)
        progress.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EBADF, errno.EPIPE])
def test_whatever_a_stream_fails_of(number: int) -> None:
    class Failing(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(number, os.strerror(number))

    stream: Any = ResilientStream(Failing())
    print("a line", file=stream)
    print("another", file=stream, flush=True)
    assert (stream.failure is not None) == (number == errno.ENOSPC)


def test_a_stream_that_is_closed() -> None:
    closed = io.StringIO()
    closed.close()
    stream: Any = ResilientStream(closed)
    print("a line", file=stream, flush=True)


def test_an_error_of_the_text_is_none_of_the_stream() -> None:
    stream: Any = ResilientStream(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    with pytest.raises(UnicodeEncodeError):
        print("\u00b1", file=stream)


def test_closed_streams() -> None:
    with printing_to(None):
        with resilient_output():
            print("a line")
            progress = Progress("a run", 100)
            progress.say("a line")
            progress.close()
            assert not sys.stderr.isatty()
        assert sys.stderr is None
        write_now("a line")


def test_all_is_written_and_the_streams_are_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with resilient_output():
        inside = sys.stdout
        with resilient_output():
            assert sys.stdout is inside
            print("a" * 5_000)
            print("b", file=sys.stderr)
        print("c")
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == (f"{'a' * 5_000}\nc\n", "b\n")


def test_a_reader_that_is_slow_gets_all(pipe: Pipe) -> None:
    pipe.fill()
    stream: Any = ResilientStream(pipe.writer)
    read: list[bytes] = []

    def reader() -> None:
        while not read or not read[-1].endswith(b"end"):
            read.append(os.read(pipe.reader, 4096))

    thread = threading.Thread(target=reader)
    thread.start()
    print("\u00b1" * 50_000, "end", file=stream, end="")
    thread.join()
    assert b"".join(read).decode().lstrip("x") == "\u00b1" * 50_000 + " end"


def test_a_process_that_is_to_end_waits_for_no_reader(pipe: Pipe) -> None:
    pipe.fill()
    wait_for_readers(False)
    with printing_to(pipe.writer), resilient_output():
        write_now("from a signal handler")
        print("a line", file=sys.stderr)
    # Nothing is left that the exit would wait for.
    pipe.writer.flush()
    assert set(os.read(pipe.reader, 2**20)) == {ord("x")}
    with printing_to(pipe.writer), resilient_output():
        print("there again", file=sys.stderr)
    assert os.read(pipe.reader, 100) == b"there again\n"


def test_a_signal_frees_a_process_whose_reader_waits(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snnrl.output.LOOK_EVERY_MS", 10)
    pipe.fill()
    killer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with printing_to(pipe.writer), stop_on_signals() as stop, resilient_output():
        killer.start()
        print("a line")  # waits for ever without the signal
        assert stop.signal_number == signal.SIGTERM
    killer.join()


@pytest.mark.parametrize(
    ("number", "is_result", "status", "line"),
    [
        (errno.ENOSPC, True, 1, "failed: standard output: No space left on device\n"),
        (errno.ENOSPC, False, 0, ""),
        (errno.EPIPE, True, 0, ""),
    ],
)
def test_half_a_result_is_a_failure(
    number: int, is_result: bool, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(number, os.strerror(number))

    with redirect_stdout(Full()):
        assert exit_status(lambda: print("a table"), output_is_result=is_result) == status
    assert capsys.readouterr().err == line
