"""Records are copied as wholes, and never get shorter."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts.evidence.collect import collect
from scripts.evidence.place import Place
from snnrl.analysis.run_folders import load_run
from snnrl.errors import RunFailed, UserError
from tests.evidence.helpers import group, place_with
from tests.run_folders import write_run

RUN = Path("evidence-1") / "HalfCheetah-v4" / "td3-spiking-lif-carebn-0123abcd" / "seed-0"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_with(tmp_path, group())


def write(place: Place, last: int, status: str | None = None, **facts: Any) -> Path:
    """A run folder with an evaluation each 100 steps, and what a run has beside its record."""
    folder = place.runs / RUN
    shutil.rmtree(folder, ignore_errors=True)
    returns = {step: [float(step), step + 1.0] for step in range(0, last + 1, 100)}
    write_run(folder, returns, status=status, clock={step: step / 10 for step in returns}, **facts)
    (folder / "overrides.yaml").write_text("[]\n")
    (folder / "provenance.json").write_text("{}")
    (folder / "model.zip").write_bytes(b"model")
    (folder / "checkpoint" / "save-1").mkdir(parents=True)
    (folder / ".lock").touch()
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


RECORD = {"config.yaml", "overrides.yaml", "provenance.json", "evaluations.csv", "progress.csv"}


def test_a_finished_run_is_copied_without_models(place: Place) -> None:
    folder = write(place, 500, "DONE")
    collect(place)
    copy = place.results / RUN
    assert names(copy) == RECORD | {"DONE"}
    for name in RECORD:
        assert (copy / name).read_bytes() == (folder / name).read_bytes()
    assert load_run(copy).status == "done"
    assert names(place.results) == {".lock", "evidence-1"}


def test_a_run_under_way_is_marked_and_ends_with_a_whole_line(place: Place) -> None:
    folder = write(place, 300)
    for name in ("evaluations.csv", "progress.csv"):
        with (folder / name).open("a") as file:
            file.write("400,0,10")
    collect(place)
    copy = place.results / RUN
    assert names(copy) == RECORD | {"UNFINISHED"}
    assert (copy / "UNFINISHED").read_text() == "300 of 1,000 steps when it was collected\n"
    assert (copy / "evaluations.csv").read_text().endswith(",301.0,200\n")
    assert (load_run(copy).status, load_run(copy).steps) == ("unfinished", 300)


def test_of_what_failed_the_last_line_is_kept(place: Place) -> None:
    folder = write(place, 300, "FAILED")
    (folder / "FAILED").write_text('  File "/home/someone/x.py"\nValueError: no\n\n')
    collect(place)
    copy = place.results / RUN
    assert (copy / "FAILED").read_text() == "ValueError: no\n"
    assert load_run(copy).reason == "ValueError: no"


@pytest.mark.parametrize(
    ("earlier", "later", "kept"),
    [
        ((300, None), (500, None), (500, "unfinished")),
        ((300, None), (300, "DONE"), (300, "done")),
        ((300, None), (300, "FAILED"), (300, "failed")),
        ((300, "FAILED"), (300, None), (300, "unfinished")),
        # A run that was made longer, from then on.
        ((300, "DONE"), (300, None), (300, "done")),
        ((300, "DONE"), (400, None), (400, "unfinished")),
        # One that began afresh, its folder having been lost.
        ((500, None), (100, None), (500, "unfinished")),
        ((500, "DONE"), (100, "FAILED"), (500, "done")),
        ((500, None), (400, "DONE"), (500, "unfinished")),
    ],
)
def test_a_longer_record_stays(
    place: Place, earlier: tuple[int, str], later: tuple[int, str], kept: tuple[int, str]
) -> None:
    write(place, *earlier)
    collect(place)
    write(place, *later)
    collect(place)
    copy = place.results / RUN
    assert (load_run(copy).steps, load_run(copy).status) == kept
    assert ("UNFINISHED" in names(copy)) == (kept[1] == "unfinished")


def test_a_record_of_a_run_that_is_lost_stays(place: Place) -> None:
    write(place, 500)
    collect(place)
    other = Path("evidence-1") / "HalfCheetah-v4" / RUN.parts[2] / "seed-1"
    shutil.move(place.runs / RUN, place.runs / other)
    collect(place)
    assert load_run(place.results / RUN).steps == load_run(place.results / other).steps == 500


def test_a_run_without_an_evaluation_is_not_collected(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(place, 0)
    (folder / "evaluations.csv").unlink()
    collect(place)
    assert "seed-0: not evaluated yet" in capsys.readouterr().out
    assert not (place.results / RUN).exists()


def test_a_damaged_run_is_named_and_the_others_are_collected(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(place, 500, "DONE")
    collect(place)
    sound = folder.with_name("seed-1")
    shutil.copytree(folder, sound)
    (folder / "evaluations.csv").write_text("timesteps,episode,seed,return,length\n0,0,")
    with pytest.raises(RunFailed):
        collect(place)
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("not collected")]
    assert "evaluations.csv: half-written" in line
    assert str(folder) in line
    assert load_run(place.results / RUN).steps == 500
    assert load_run((place.results / RUN).with_name("seed-1")).steps == 500


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["write_bytes", "mkdir", "rename"])
def test_a_full_disk_leaves_what_was_there(
    place: Place, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place, 300)
    collect(place)
    write(place, 500, "DONE")
    with monkeypatch.context() as patched:
        patched.setattr(Path, where, full)
        with pytest.raises(UserError, match=r"paper: cannot write there \(No space left"):
            collect(place)
    assert load_run(place.results / RUN).steps == 300
    collect(place)
    assert load_run(place.results / RUN).steps == 500
    assert names(place.results) == {".lock", "evidence-1"}


def test_killed_between_old_and_new_the_old_record_comes_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place, 300)
    collect(place)
    record, staging = place.results / RUN, place.results / ".collecting"
    staging.mkdir()
    (staging / "belongs").write_text(str(record))
    record.rename(staging / "old")
    shutil.rmtree(place.runs / RUN)
    write_run(place.runs / RUN.with_name("seed-1"), {0: [1.0]}, seed=1)
    collect(place)
    assert load_run(record).steps == 300
    assert not staging.exists()


def test_no_runs(place: Place) -> None:
    with pytest.raises(UserError, match=r"runs: no runs there; expected .* start first"):
        collect(place)


def test_done_is_a_number_of_steps(place: Place) -> None:
    folder = write(place, 500, "DONE")
    (folder / "DONE").write_text(json.dumps({"timesteps": 500, "kernel": "naive"}) + "\n")
    collect(place)
    assert json.loads((place.results / RUN / "DONE").read_text())["timesteps"] == 500
