"""What a sweep writes down, and signals to it."""

from __future__ import annotations

import errno
import io
import os
import signal
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from snnrl.experiment.signals import SIGNALS, StopRequest, stop_on_signals
from snnrl.experiment.sweep.outcomes import Outcome, Sweep, count, describe

DONE = Outcome("done", ["bn=none", "seed=0"], "a", "", 1.5)
FAILED = Outcome("failed", ["bn=none", "seed=1"], "b", "ValueError: no (b/FAILED)")
STOPPED = Outcome("interrupted", ["bn=none", "seed=2"], "runs/c", "its process was ended")


def test_outcomes_in_the_order_of_the_runs(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "sweep")
    assert sweep.outcomes() == []
    for number, outcome in ((10, FAILED), (2, STOPPED), (2, DONE)):
        sweep.record(number, outcome)
    assert Sweep(tmp_path / "sweep").outcomes() == [DONE, FAILED]
    assert sweep.outcome(2) == DONE
    assert sweep.outcome(3) is None


def test_asking_to_stop(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "sweep")
    assert sweep.stop_asked() is None
    sweep.ask_to_stop(signal.SIGTERM)
    assert Sweep(tmp_path / "sweep").stop_asked() == 15


def test_a_new_sweep_in_the_same_folder(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "sweep")
    sweep.begin()
    sweep.record(0, DONE)
    sweep.ask_to_stop(signal.SIGTERM)
    Sweep(tmp_path / "sweep").begin()
    assert (sweep.outcomes(), sweep.stop_asked()) == ([], None)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"status": "done"}', "\x00\xff"])
def test_what_cannot_be_read_is_not_known(text: str, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "sweep")
    sweep.record(1, DONE)
    sweep.ask_to_stop(15)
    for file in sweep.folder.iterdir():
        file.write_text(text)
    again = Sweep(tmp_path / "sweep")
    assert (again.outcome(1), again.outcomes(), again.stop_asked()) == (None, [], None)


def test_outcomes_that_a_full_disk_does_not_take_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    Sweep(tmp_path / "sweep").record(0, DONE)
    monkeypatch.setattr("snnrl.experiment.sweep.outcomes.replace_file", full)
    Sweep(tmp_path / "sweep").record(1, FAILED)
    assert Sweep(tmp_path / "sweep").outcomes() == [DONE, FAILED]
    assert Sweep(tmp_path / "sweep").outcome(1) == FAILED
    monkeypatch.undo()
    Sweep(tmp_path / "sweep").record(1, DONE)
    assert Sweep(tmp_path / "sweep").outcomes() == [DONE, DONE]


def test_the_count_says_what_did_not_begin() -> None:
    assert count([DONE, FAILED, STOPPED, DONE], 4) == "4 runs: 2 done, 1 interrupted, 1 failed"
    assert count([DONE], 3) == "3 runs: 1 done, 2 not started"
    assert count([], 2) == "2 runs: 2 not started"


def test_what_is_not_done_is_named_by_what_distinguishes_it() -> None:
    assert describe([DONE, FAILED, STOPPED]) == [
        "failed: seed=1: ValueError: no (b/FAILED)",
        "interrupted: seed=2: its process was ended (runs/c)",
    ]
    assert describe([FAILED]) == ["failed: bn=none seed=1: ValueError: no (b/FAILED)"]
    assert describe([DONE]) == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, to be set."""
    now = [0.0]
    monkeypatch.setattr("snnrl.experiment.signals.time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_and_a_second_one_stops_at_once(
    number: signal.Signals, clock: list[float]
) -> None:
    before = signal.getsignal(number)
    told: list[int] = []
    with stop_on_signals(tell=told.append) as stop:
        assert stop.signal_number is None
        os.kill(os.getpid(), number)
        assert stop.signal_number == number
        os.kill(os.getpid(), number)  # the same, handed on
        clock[0] += 1
        # The terminal may say more than once that it is closed.
        with nullcontext() if number == signal.SIGHUP else pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert told == [number]
    assert signal.getsignal(number) == before


def test_a_sweep_is_told_outside_the_handler() -> None:
    told: list[threading.Thread] = []
    with stop_on_signals(tell=lambda _: told.append(threading.current_thread())):
        signal.raise_signal(signal.SIGTERM)
    assert told != [threading.main_thread()]
    assert len(told) == 1
    with stop_on_signals(tell=lambda _: told.append(threading.current_thread())):
        pass
    assert len(told) == 1


def test_a_disk_too_full_to_tell_the_runs(capsys: pytest.CaptureFixture[str]) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "STOP")

    with stop_on_signals(tell=full):
        signal.raise_signal(signal.SIGTERM)
    line = "the runs cannot be asked to stop ([Errno 28] No space left on device: 'STOP')\n"
    assert capsys.readouterr().err == line


def test_under_nohup_a_closed_terminal_is_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.signal_number is None
            signal.raise_signal(signal.SIGTERM)
            assert stop.signal_number == signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


class Reentrant(io.StringIO):
    """A stream in the middle of a write, as a signal may find it."""

    def write(self, text: str) -> int:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")


@pytest.mark.parametrize("stream", [Reentrant(), None])
def test_a_signal_prints_nothing(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM


def test_a_signal_says_so_where_that_does_not_wait(capfd: pytest.CaptureFixture[str]) -> None:
    with stop_on_signals():
        signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr().err.startswith("stopping after this update")


def test_a_signal_to_a_run_is_one_to_its_sweep() -> None:
    with stop_on_signals() as sweep:
        with stop_on_signals() as run:
            signal.raise_signal(signal.SIGTERM)
        assert run is sweep
        assert sweep.signal_number == signal.SIGTERM
    assert not isinstance(getattr(signal.getsignal(signal.SIGTERM), "__self__", 0), StopRequest)


def test_what_is_watched_counts_as_a_signal_but_not_as_the_first_of_two(
    clock: list[float],
) -> None:
    asked: list[int | None] = [None]
    looks = []
    stop = StopRequest(watch=lambda: looks.append(1) or asked[0])
    assert stop.signal_number is None
    asked[0] = 15
    assert stop.signal_number is None  # it looks once a second
    clock[0] += 1
    assert stop.signal_number == 15
    assert stop.signal_number == 15
    assert len(looks) == 2
    stop.handle(signal.SIGTERM, None)
    clock[0] += 1
    with pytest.raises(KeyboardInterrupt):
        stop.handle(signal.SIGTERM, None)
