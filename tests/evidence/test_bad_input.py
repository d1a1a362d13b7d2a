"""What does not fit is one line, before anything runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.evidence.__main__ import main
from scripts.evidence.clones import check_clone, make_clone, python_of
from scripts.evidence.inside import compose
from scripts.evidence.lock import Lock
from scripts.evidence.place import TOP, Place
from scripts.evidence.plan import Plan, Planned, make_plan
from scripts.evidence.work import work
from snnrl.errors import UserError
from tests.evidence.helpers import TAG, evidence, git, group, place_with, variables

Usage = namedtuple("Usage", ["total", "used", "free"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_with(tmp_path, group())


def refused(
    words: list[str],
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    **more: str,
) -> str:
    """Run the command, see that it refuses in one line, and return the line."""
    for name, value in variables(place, **more).items():
        monkeypatch.setenv(name, value)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert list(place.runs.glob("*/*")) == []
    return line


def test_a_second_queue(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.evidence.lock.STATUS_QUERY_S", 0.0)
    first = Lock(place.queue)
    first.take()
    first.write_queue({})
    line = refused(["start"], place, monkeypatch, capsys)
    assert f"{place.folder}: a queue is running there (process {os.getpid()})" in line
    os.close(first.handle)


def test_the_lock_dies_with_its_process(place: Place) -> None:
    code = (
        "import sys, time; from pathlib import Path; from scripts.evidence.lock import Lock\n"
        "lock = Lock(Path(sys.argv[1])); lock.take(); lock.write_queue({}); print('held', "
        "flush=True)\n"
        "time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(place.queue)], cwd=TOP, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    lock = Lock(place.queue)
    assert lock.is_held()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert not lock.is_held()
    lock.take()
    assert Lock(place.queue).is_held()
    os.close(lock.handle)


@pytest.mark.usefixtures("cloned_from")
def test_a_tag_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = place_with(tmp_path, group(), group(tag="evidence-9", seeds=[1]))
    line = refused(["start"], place, monkeypatch, capsys)
    assert "no tag evidence-9" in line
    assert not (place.folder / "clones").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("status", f"{TAG}: no clone of {TAG}; expected scripts/evidence.sh start first"),
        ("collect", "runs: no runs there; expected scripts/evidence.sh start first"),
        ("stop", "no queue is running there; expected a running one"),
        ("page", "no runs there; expected scripts/evidence.sh collect first"),
    ],
)
def test_before_the_first_start(
    command: str,
    said: str,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said in refused([command], place, monkeypatch, capsys)
    assert not place.folder.exists()


@pytest.mark.usefixtures("cloned_from")
def test_a_clone_that_is_not_its_tag(place: Place) -> None:
    clone = make_clone(place, TAG)
    readme = clone / "Makefile"
    readme.write_text(readme.read_text() + "# more\n")
    with pytest.raises(UserError, match=r"modified \(M Makefile\); expected the files as cloned"):
        make_clone(place, TAG)
    git(clone, "commit", "--all", "--quiet", "--message", "more")
    with pytest.raises(UserError, match=f"not at its tag {TAG}"):
        make_clone(place, TAG)
    git(clone, "tag", "--force", TAG)
    with pytest.raises(UserError, match="expected a new tag for other code"):
        make_clone(place, TAG)


def test_a_checkout_without_tags_has_the_commit(
    tmp_path: Path,
    cloned_from: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commit = git(cloned_from, "rev-parse", f"refs/tags/{TAG}^0")
    other = place_with(tmp_path, group(commit="0" * 40))
    assert f"the tag is at {commit} here" in refused(["start"], other, monkeypatch, capsys)
    git(cloned_from, "tag", "--delete", TAG)
    try:
        assert f"no tag {TAG}" in refused(["start"], other, monkeypatch, capsys)
        clone = make_clone(place_with(tmp_path, group()), TAG, commit)
        assert git(clone, "rev-parse", f"refs/tags/{TAG}^0") == commit
        check_clone(other, TAG, commit)
    finally:
        git(cloned_from, "tag", TAG, commit)


@pytest.mark.usefixtures("cloned_from")
def test_a_clone_that_was_cut_off_is_made_again(place: Place) -> None:
    half = place.clone(TAG).with_name(f".{TAG}.half")
    (half / "snnrl").mkdir(parents=True)
    clone = make_clone(place, TAG)
    assert (clone / "snnrl" / "train.py").exists()
    assert not half.exists()
    shutil.rmtree(clone)
    assert (make_clone(place, TAG) / "snnrl" / "train.py").exists()


@pytest.mark.slow
def test_a_setting_with_two_values(
    tmp_path: Path,
    cloned_from: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = place_with(tmp_path, group(variants=["bn=carebn"]))
    line = refused(["start"], place, monkeypatch, capsys)
    assert "run 1" in line and "bn=none and bn=carebn: two values for one setting" in line


@pytest.mark.slow
def test_settings_are_all_checked_before_anything_runs(
    tmp_path: Path,
    cloned_from: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = place_with(tmp_path, group(), group(variants=["bn=none", "bn=carbn"], seeds=[7]))
    line = refused(["start"], place, monkeypatch, capsys)
    assert "run 3" in line and "bn=carbn" in line and "did you mean 'carebn'" in line


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([group(variants=["algo.tau=2"])], "algo.tau=2.0: expected at most 1"),
        ([group(variants=["algo.tau=0.1,0.2"])], "has several values; expected a variant for each"),
        ([group(variants=["evaluation.evry=3"])], "evaluation.evry: no such setting"),
        ([group(), group()], "runs 1 and 2 are the same run"),
        # In other words, or shorter than before.
        ([group(variants=["bn=none", "bn=none log_every=500"])], "runs 1 and 2 are the same run"),
        ([group(), group(steps=40)], "expected more steps in the later one"),
    ],
)
@pytest.mark.usefixtures("cloned_from")
def test_lists_that_do_not_fit(
    tmp_path: Path, groups: list[dict[str, Any]], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(*asked: Any, check: bool) -> dict[str, Any]:
        """What a clone answers, without the time that its imports take."""
        return compose(asked[-1], check=check)

    monkeypatch.setattr("scripts.evidence.plan._compose", here)
    with pytest.raises(UserError) as problem:
        make_plan(place_with(tmp_path, *groups), begin=True)
    assert words in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.usefixtures("cloned_from")
def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    place = place_with(tmp_path, group(), python=str(tmp_path / "python"))
    with pytest.raises(UserError, match="python: missing"):
        make_plan(place, begin=True)


def almost_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**12, 10**12 - 10**8, 10**8))


def test_a_full_disk_at_the_start(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    almost_full(monkeypatch)
    assert "0.1 GB free, expected 2 GB" in refused(["start"], place, monkeypatch, capsys)


def test_a_disk_that_fills_up(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No run begins any more, and the rest of the list is not declared failed."""
    almost_full(monkeypatch)
    from scripts.evidence.entries import read_entries

    (entry,) = read_entries(place.entries)
    run = Planned(entry, "seed=0", entry.overrides("r"), "f", place.runs / "f", None)
    lock = Lock(place.queue)
    lock.take()
    with pytest.raises(UserError, match=r"0\.1 GB free"):
        work(place, Plan([run], 1), lock)
    assert ": started:" not in capsys.readouterr().out
    os.close(lock.handle)


def test_a_folder_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    place = replace(place_with(tmp_path, group()), folder=tmp_path / "file" / "dir")
    assert "cannot write there" in refused(["start"], place, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        (["stat"], {}, "invalid choice: 'stat'"),
        (["stop", "--foreground"], {}, "--foreground: expected with start"),
        (["collect", "--retry"], {}, "--retry: expected with start"),
        (["start", "--now"], {}, "unrecognized arguments: --now"),
        (["start"], {"EVIDENCE_AT_ONCE": "0"}, "EVIDENCE_AT_ONCE=0: expected a number"),
        (["start"], {"EVIDENCE_AT_ONCE": "many"}, "EVIDENCE_AT_ONCE=many: expected a number"),
    ],
)
def test_words_that_mean_nothing(
    words: list[str],
    more: dict[str, str],
    said: str,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said in refused(words, place, monkeypatch, capsys, **more)


def test_the_script_before_make_setup(repository: Path, place: Place) -> None:
    done = evidence(repository, place, ["status"], PYTHON="")
    assert done.returncode == 2
    assert done.stderr == "error: .venv/bin/python: missing; expected 'make setup' first\n"


def test_the_script_takes_folders_from_where_it_was_called(
    repository: Path, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = evidence(repository, place, ["collect"], EVIDENCE_DIR="here")
    assert done.returncode == 2
    assert f"{tmp_path / 'here' / 'runs'}: no runs there" in done.stderr


def test_a_clone_that_is_being_set_up_has_no_interpreter_yet(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path / "list.yaml", tmp_path / "results")
    own = place.clone("first") / ".venv" / "bin" / "python"
    with pytest.raises(UserError, match=r"missing; expected scripts/evidence\.sh start"):
        python_of(place, "first")
    own.parent.mkdir(parents=True)
    own.symlink_to(sys.executable)
    with pytest.raises(UserError, match=r"first: is being set up, or its set-up was interrupted"):
        python_of(place, "first")
    (own.parent.parent / "setup-done").touch()
    assert python_of(place, "first") == str(own)
