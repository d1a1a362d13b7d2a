"""The script itself with tiny runs, of a clone of this checkout as it stands."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import sleep
from unittest.mock import patch

import pytest
import yaml

from scripts.evidence.entries import read_entries
from scripts.evidence.lock import Lock, is_alive, read_queue
from scripts.evidence.place import Place
from scripts.evidence.plan import Plan, Planned
from scripts.evidence.status import lines
from scripts.evidence.work import as_clones_take_it, work
from snnrl import train
from snnrl.analysis.run_folders import load_run
from snnrl.errors import RunFailed
from snnrl.experiment.checkpoint.manifest import numbered
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.sweep.job import Job
from tests.evidence.helpers import FAILING, SOUND, TAG, TINY, evidence, git, group, place_with

STEPS = 600


def wait(until: Callable[[], object]) -> None:
    """Wait as long as it takes; a test that hangs is ended from outside."""
    while not until():
        sleep(0.05)


def runs(place: Place) -> dict[str, Path]:
    """Run folders: ``Sound/0`` and so on."""
    folders = (file.parent for file in place.runs.glob("*/*/*/*/config.yaml"))
    return {f"{f.parts[-3].split('-')[1]}/{f.name.split('-')[1]}": f for f in folders}


def kill(pid: int) -> None:
    """As the out-of-memory killer does; one that has ended already has."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait(lambda: not is_alive(pid) or zombie(pid))


def zombie(pid: int) -> bool:
    """Whether a process has ended, with all its threads, and nobody has asked for its status.

    A thread that still ends keeps the files of the process open, and with them a lock.
    """
    try:
        ended = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] == "Z"
        return ended and len(os.listdir(f"/proc/{pid}/task")) == 1
    except OSError:
        return False


def running(place: Place) -> dict[int, list[str]]:
    """Processes of the queue's runs, and their command lines."""
    return {
        int(pid): line for pid, line in (read_queue(place.queue) or {"runs": {}})["runs"].items()
    }


def read(folder: Path, name: str) -> str:
    return (folder / name).read_text()


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As long as this file is there, runs in the failing environment fail."""
    file = tmp_path / "trouble"
    file.touch()
    monkeypatch.setenv("SNNRL_TEST_TROUBLE", str(file))
    return file


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """One whose queue does not outlive the test. It has a run to extend, and one that fails."""
    often = f"{TINY} checkpoint.every=25"
    long = group(settings=often, variants=[SOUND, FAILING], steps=STEPS)
    place = place_with(tmp_path, long, group(settings=often, variants=[SOUND], steps=STEPS + 100))
    yield place
    queue = read_queue(place.queue)
    if queue is not None and Lock(place.queue).is_held():
        for pid in (queue["pid"], *running(place)):
            kill(pid)


def test_clones_of_every_tag_take_a_run() -> None:
    """The first tag's code knows these fields and no others."""
    job = Job("sweep", 3, ["env=hopper", "seed=1"], "folder", 1, "clone")
    assert as_clones_take_it(job) == {
        "sweep": "sweep",
        "number": 3,
        "overrides": ["env=hopper", "seed=1"],
        "folder": "folder",
        "threads": 1,
        "cwd": "clone",
    }


@pytest.mark.slow
def test_two_at_a_time_one_fails_and_the_rest_goes_on(
    repository: Path, tmp_path: Path, trouble: Path
) -> None:
    place = place_with(tmp_path, group(settings=TINY, variants=[FAILING, SOUND]))
    done = evidence(repository, place, ["start", "--foreground"])
    assert done.returncode == 1, done.stdout + done.stderr
    events = [line.split(" ", 1)[1] for line in done.stdout.splitlines() if line[:2] == "20"]
    assert events[:2] == [
        "run 1: started: env.id=tests.sweep_envs:Failing-v0 seed=0, to 100 steps",
        "run 2: started: env.id=tests.sweep_envs:Sound-v0 seed=0, to 100 steps",
    ]
    assert any(line.startswith("run 1: failed: ") for line in events)
    assert any(
        line.startswith("run 2: done: env.id=tests.sweep_envs:Sound-v0 seed=0: return -")
        for line in events
    )
    assert events[-1] == "1 of 2 runs are done; in this start 2 runs: 1 done, 1 failed"
    failed, sound = runs(place)["Failing/0"], runs(place)["Sound/0"]
    assert json.loads((sound / "DONE").read_text())["timesteps"] == 100
    assert (failed / "FAILED").exists()

    facts = json.loads((sound / "provenance.json").read_text())
    assert facts["git"]["revision"] == git(repository, "rev-parse", TAG)
    assert (facts["git"]["diff"], facts["git"]["untracked"], facts["threads"]) == (None, {}, 1)
    # What is collected goes into the repository: no path of this machine.
    for name in ("config.yaml", "overrides.yaml", "provenance.json"):
        assert str(tmp_path) not in (sound / name).read_text()
    assert yaml.safe_load((sound / "config.yaml").read_text())["tracking"]["name"] == "none"

    lines = evidence(repository, place, ["status"]).stdout.splitlines()
    assert "failed: ArithmeticError: trouble" in lines[1] and str(failed / "FAILED") in lines[1]
    assert lines[2].split()[:1] == ["2"] and lines[2].endswith("done")
    assert lines[3] == "2 runs: 1 done, 1 failed; no queue is running"


@pytest.mark.slow
def test_everything_killed_and_started_again(
    repository: Path, tmp_path: Path, place: Place, trouble: Path
) -> None:
    begun = evidence(repository, place, ["start"])
    assert begun.returncode == 0, begun.stderr
    queue = read_queue(place.queue)
    assert queue is not None and f"process {queue['pid']}" in begun.stdout
    assert os.getsid(queue["pid"]) == queue["pid"]

    # The queue alone: its runs notice, save themselves and end, and the next one waits for them.
    wait(lambda: "Sound/0" in runs(place) and numbered(runs(place)["Sound/0"] / "checkpoint"))
    pids = running(place)
    assert 1 <= len(pids) <= 2
    assert os.getpriority(os.PRIO_PROCESS, queue["pid"]) == 19
    kill(queue["pid"])
    assert evidence(repository, place, ["start"]).returncode == 0
    assert not any(is_alive(pid) and not zombie(pid) for pid in pids)

    # Queue and runs.
    queue = read_queue(place.queue)
    assert queue is not None
    sound = runs(place)["Sound/0"]
    saved = max(numbered(sound / "checkpoint"))
    wait(lambda: max(numbered(sound / "checkpoint")) > saved)
    for pid in (queue["pid"], *running(place)):
        kill(pid)
    assert not (sound / "DONE").exists()
    assert not Lock(place.queue).is_held()
    said = evidence(repository, place, ["status"]).stdout
    assert "waiting" in said.splitlines()[1] and "no queue is running" in said
    assert evidence(repository, place, ["collect"]).returncode == 0
    (mark,) = place.results.glob("*/*Sound*/*/seed-0/UNFINISHED")
    collected = load_run(mark.parent)
    assert (collected.status, 0 < collected.steps < STEPS) == ("unfinished", True)

    # Stopped, which saves; then to the end.
    assert evidence(repository, place, ["start"]).returncode == 0
    wait(lambda: running(place))
    assert evidence(repository, place, ["stop"]).returncode == 0
    assert evidence(repository, place, ["stop"]).returncode == 2
    assert evidence(repository, place, ["start"]).returncode == 0
    wait(lambda: not Lock(place.queue).is_held())
    states = {name: load_run(path).status for name, path in runs(place).items()}
    assert states == {"Sound/0": "done", "Failing/0": "failed"}
    assert "resuming from step" in (place.queue / "1.log").read_text()
    settings = yaml.safe_load((sound / "overrides.yaml").read_text())
    whole = [*settings[:-1], f"results_dir={tmp_path / 'whole'}"]
    with patch("snnrl.experiment.run.seconds_for", return_value=1.0):
        assert train.main(whole) == 0
    uninterrupted = RunFolder(compose_config(whole)).path
    assert read(sound, "evaluations.csv") == read(uninterrupted, "evaluations.csv")

    # What failed is tried again, as often as it did, and what is done is left alone.
    trouble.unlink()
    before = (sound / "DONE").stat().st_mtime_ns
    again = evidence(repository, place, ["start", "--foreground", "--retry"])
    assert again.returncode == 0, again.stdout + again.stderr
    assert "3 of 3 runs are done; in this start 1 runs: 1 done" in again.stdout
    assert (sound / "DONE").stat().st_mtime_ns == before

    assert evidence(repository, place, ["collect"]).returncode == 0
    assert load_run(mark.parent).status == "done"
    assert not mark.exists()
    made = evidence(repository, place, ["page"])
    assert made.returncode == 0, made.stderr
    text = (place.results / "README.md").read_text()
    assert "(1 seed, 700 steps)" in text
    assert (place.results / "curves.png").exists() and (place.results / "table.md").exists()


def test_what_failed_twice_is_tried_again_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the status knows the run by its settings all the same."""
    place = place_with(tmp_path, group())
    (entry,) = read_entries(place.entries)
    run = Planned(entry, "seed=0", entry.overrides("r"), "f", place.runs / "f", None)
    asked = []

    def refuse(command: list[str], **_: object) -> None:
        asked.append(json.loads(command[-1]))
        raise OSError("not here")

    monkeypatch.setattr("subprocess.Popen", refuse)
    lock = Lock(place.queue)
    lock.take()
    for retry in (False, True):
        with pytest.raises(RunFailed):
            work(place, Plan([run], 1), lock, retry=retry)
    os.close(lock.handle)
    assert [job["overrides"] for job in asked] == [run.overrides, [*run.overrides, "retry=true"]]
    monkeypatch.setattr("scripts.evidence.status.make_plan", lambda *_, begin: Plan([run], 1))
    assert "failed: cannot be started (not here)" in "".join(lines(place))
