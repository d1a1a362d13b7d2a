"""What a sweep writes down, and signals to it."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from snnrl.experiment.signals import SIGNALS, StopRequest, stop_on_signals
from snnrl.experiment.sweep import Outcome, Sweep, count, describe

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
    monkeypatch.setattr("snnrl.experiment.sweep.replace_file", full)
    Sweep(tmp_path / "sweep").record(1, FAILED)
    assert Sweep(tmp_path / "sweep").outcomes() == [DONE, FAILED]
    assert Sweep(tmp_path / "sweep").outcome(1) == FAILED
    monkeypatch.undo()
    Sweep(tmp_path / "sweep").record(1, DONE)
    assert Sweep(tmp_path / "sweep").outcomes() == [DONE, DONE]


def test_the_count_says_what_did_not_begin() -> None:
    assert count([DONE, FAILED, STOPPED, DONE], 4) == "4 runs: 2 done, 1 interrupted, 1 failed"
    assert count([DONE], 3) == "3 runs: 1 done, 2 not begun"
    assert count([], 2) == "2 runs: 2 not begun"


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
        assert told == [number]
        os.kill(os.getpid(), number)  # the same, handed on
        clock[0] += 1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


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
