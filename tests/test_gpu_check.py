"""The script for a GPU: a stage fails alone, and what is cut off leaves what it has."""

import json
from time import monotonic

import pytest

from scripts.bench import device_check, gpu_check
from scripts.bench.findings import Findings
from scripts.bench.gpu_check import FAILED, NOT_REACHED, PASSED, TOO_LONG, main
from scripts.bench.gpu_stages import MOST_SECONDS, Stage, rounds

SLOW = "import time; time.sleep(60)"


@pytest.fixture
def stages(monkeypatch, tmp_path):
    """Let the script have these rounds, of lines of Python."""

    def be(**given):
        def made(out, device, quick):
            for name, lines in given.items():
                yield (
                    name,
                    [
                        Stage(f"{name}-{place}", ("-c", line), seconds=3, file=out / f"{name}.json")
                        for place, line in enumerate(lines)
                    ],
                )

        monkeypatch.setattr(gpu_check, "rounds", made)

    return be


def check(folder, *arguments):
    status = main(["--out", str(folder), "--device", "cpu", *arguments])
    (file,) = folder.glob("*-check.json")
    return status, json.loads(file.read_text())


def test_results_of_all(stages, tmp_path, capsys):
    note = "from scripts.bench.findings import Findings; from pathlib import Path\n"
    note += f"Findings(Path({str(tmp_path / 'first.json')!r})).note('speed', 3)"
    stages(first=[note], second=["print('hello')", "pass"])
    status, found = check(tmp_path)
    assert status == 0
    assert {name: one["status"] for name, one in found["stages"].items()} == {
        "first-0": PASSED,
        "second-0": PASSED,
        "second-1": PASSED,
    }
    assert found["stages"]["first-0"]["values"] == {"speed": 3}
    assert found["stages"]["second-0"]["output"] == ["hello"]
    assert {"hardware", "versions", "git", "command"} <= found.keys()
    assert not (tmp_path / "first.json").exists()


def test_a_stage_fails_alone(stages, tmp_path, capsys):
    stages(first=["raise ValueError('broken')", "print('whole')"], second=["print('too')"])
    status, found = check(tmp_path)
    assert status == 1
    one, other, last = found["stages"].values()
    assert (one["status"], other["status"], last["status"]) == (FAILED, PASSED, PASSED)
    assert one["output"][-1] == "ValueError: broken"
    assert "ValueError: broken" in capsys.readouterr().out


def test_one_that_takes_too_long_is_ended_with_its_children(stages, tmp_path):
    child = "import subprocess, sys; print('began', flush=True)\n"
    child += f"subprocess.run([sys.executable, '-c', {SLOW!r}])"
    stages(first=[child], second=["print('next')"])
    began = monotonic()
    status, found = check(tmp_path)
    # Its output is open until the child has ended, too.
    assert monotonic() - began < 50
    assert status == 1
    assert found["stages"]["first-0"]["status"] == TOO_LONG
    assert found["stages"]["first-0"]["output"] == ["began"]
    assert found["stages"]["second-0"]["status"] == PASSED


def test_what_there_is_no_time_for_says_so(stages, tmp_path):
    stages(first=["print('first')"])
    status, found = check(tmp_path, "--budget", "1")
    assert status == 1
    assert found["stages"]["first-0"] == {"status": NOT_REACHED}


def test_some_rounds(stages, tmp_path, capsys):
    stages(first=["print(1)"], second=["print(2)"], third=["print(3)"])
    _, found = check(tmp_path, "--rounds", "third,first")
    assert list(found["stages"]) == ["third-0", "first-0"]
    assert main(["--out", str(tmp_path), "--rounds", "fourth"]) == 2
    assert "--rounds=fourth" in capsys.readouterr().err


def test_the_stages_there_are(tmp_path):
    found = [stage for _, stages in rounds(tmp_path, "cuda", quick=False) for stage in stages]
    names = [stage.name for stage in found]
    assert len(set(names)) == len(names)
    assert all(stage.seconds <= MOST_SECONDS for stage in found)
    known = {s.command[2] for s in found if s.command[1] == "scripts.bench.device_check"}
    assert known == set(device_check.CHECKS)


def test_a_check_that_breaks_leaves_what_it_found(tmp_path, monkeypatch, capsys):
    def breaks(algo, kernel, options, findings):
        findings.note("before", 1)
        findings.expect("is small", False, 12)
        raise RuntimeError("out of memory")

    monkeypatch.setitem(device_check.CHECKS, "steps", breaks)
    out = tmp_path / "found.json"
    assert device_check.main(["steps", "--device", "cpu", "--out", str(out)]) == 1
    found = json.loads(out.read_text())
    assert found["failed"] == ["is small", "ran"]
    assert found["values"]["before"] == 1
    assert found["values"]["is small"] == 12
    assert found["values"]["ran"][-1] == "RuntimeError: out of memory"


def test_expectations(capsys):
    findings = Findings(None)
    findings.expect("good", True, "unused")
    findings.expect("bad", False)
    assert findings.values == {"good": True, "bad": False}
    assert findings.failed == ["bad"]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", ["equal", "resumed", "copied", "acted", "fits", "memory"])
def test_checks_run(name, tmp_path):
    """On a CPU, where nothing is captured: that is all that fails."""
    out = tmp_path / "found.json"
    arguments = [name, "--device", "cpu", "--kernel", "naive", "--quick", "--out", str(out)]
    device_check.main(arguments)
    captured = {"equal": ["td3 naive is captured"], "acted": ["td3 naive: decisions are captured"]}
    assert json.loads(out.read_text())["failed"] == captured.get(name, [])
