"""Every reader of a run folder answers damage with a result or with one line, and runs nothing."""

from __future__ import annotations

import csv
import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from snnrl import compare, evaluate, reproduce
from tests.conftest import OWN_SETTINGS, TWO_RUNS
from tests.damage import copied, damages, reseal
from tests.experiment.helpers import train

STEPS = 30

RECORD = ("config.yaml", "overrides.yaml", "provenance.json", "DONE")
TABLES = ("evaluations.csv", "progress.csv", "statistics_error.csv")
MODELS = ("best_model.zip", "model.zip")
CHECKPOINT = ("manifest.json", "agent.zip", "state.pt")


def _compare(folder: Path) -> int:
    return compare.main([str(folder), "--out", str(folder.parent / "out")])


def _evaluate(folder: Path) -> int:
    return evaluate.main([str(folder), "--episodes", "1", "--kernel", "naive"])


def _check(folder: Path) -> int:
    return reproduce.main([str(folder), "--check"])


def _resume(folder: Path) -> int:
    algo = "dqn" if "dqn" in folder.parent.name else "ppo"
    longer = [*TWO_RUNS, f"total_steps={STEPS + 10}"]
    return train(folder.parents[2], f"algo={algo}", *longer, *OWN_SETTINGS[algo])


COMMANDS: dict[str, tuple[Callable[[Path], int], tuple[int, ...], tuple[str, ...]]] = {
    "compare": (_compare, (0, 2), (*RECORD, *TABLES)),
    "evaluate": (_evaluate, (0, 2), ("config.yaml", *MODELS[:1] * 3, "DONE")),
    "check": (_check, (0, 1, 2), RECORD),
    "resume": (_resume, (0, 1, 2), (*RECORD, *TABLES, *MODELS, *CHECKPOINT)),
}
"""Each command, its exit statuses, and the files that it reads."""


def damaged_and_asked(
    command: str,
    case: int,
    two_runs: dict[str, Path],
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """Damage a copy of a run and have a command read it.

    :param case: what is damaged follows from it
    :return: what the command said on stderr
    """
    run, statuses, files = COMMANDS[command]
    generator = random.Random(zlib.crc32(f"{command} {case}".encode()))
    source = two_runs[generator.choice(["dqn", "dqn", "ppo"])]
    folder = copied(source, here / "results" / source.relative_to(source.parents[2]))
    name = generator.choice(files)
    if name in CHECKPOINT:
        (save,) = [path for path in folder.glob("checkpoint/save-*")][-1:]
        name = str((save / name).relative_to(folder))
    state = generator.choice(["sealed", "unsealed", "unfinished", "failed"])
    (damage,) = damages(folder, name, generator, 1)
    print(f"{command} {case}: {damage} of {folder.parent.name}, {state}")
    damage.apply(folder)
    if name != "DONE":
        if state == "sealed":
            reseal(folder)
        elif state == "unsealed":
            (folder / "DONE").write_text(f'{{"timesteps": {STEPS}}}')
        else:
            (folder / "DONE").unlink()
            if state == "failed":
                (folder / "FAILED").write_text("Traceback\nError: \x1b[2J$\\frac{$\n")
    capsys.readouterr()
    status = run(folder)
    out, err = capsys.readouterr()
    assert status in statuses
    assert "Traceback" not in out + err
    assert "\x1b" not in out + err
    assert not (here / "canary").exists()
    if status == 2 and command != "resume":
        (line,) = err.splitlines()
        assert line.startswith("error: ")
        assert len(line) < 4000
    return err


@pytest.mark.slow
@pytest.mark.parametrize("case", range(75))
@pytest.mark.parametrize("command", COMMANDS)
def test_damage(
    command: str,
    case: int,
    two_runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    damaged_and_asked(command, case, two_runs, tmp_path, capsys)


def _config(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / "config.yaml"
        content = yaml.safe_load(file.read_text())
        change(content)
        file.write_text(yaml.safe_dump(content))

    return apply


def _written(name: str, content: str | bytes) -> Callable[[Path], None]:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data) and None


def _rows(*rows: str) -> Callable[[Path], None]:
    lines = ["timesteps,episode,seed,return,length", "0,0,1,1,9", *rows, ""]
    return _written("evaluations.csv", "\n".join(lines))


def _replaced(file: Path, column: str, cell: str) -> None:
    """Give a column of a table one cell everywhere."""
    with file.open(newline="") as opened:
        rows = [{**row, column: cell} for row in csv.DictReader(opened)]
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _folder(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return apply


def _pipe(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return apply


def _half(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return apply


ALIASES = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))

QUICK: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "half of a model": ("evaluate", _half("best_model.zip"), "best_model.zip: damaged"),
    "env.id null": ("evaluate", _config(lambda c: c["env"].update(id=None)), "'env.id'"),
    "env.id a number": ("check", _config(lambda c: c["env"].update(id=3)), "'env.id'"),
    "env.id two modules": (
        "evaluate",
        _config(lambda c: c["env"].update(id="a:b:c")),
        "env.id=a:b:c",
    ),
    "layers beyond memory": (
        "evaluate",
        _config(lambda c: c["actor"].update(hidden=[10**6, 10**6])),
        "actor.hidden",
    ),
    "done of 400 digits": ("evaluate", _written("DONE", f'{{"timesteps": {10**400}}}'), "DONE"),
    "steps of 400 digits": ("compare", _rows("9" * 400 + ",0,1,1,9"), "line 3"),
    "steps that are no whole number": ("compare", _rows("30.5,0,1,1,9"), "timesteps"),
    "a return of 1e308": ("compare", _rows("30,0,1,1e308,9"), "line 3"),
    "an infinite return": ("compare", _rows("30,0,1,inf,9"), "line 3"),
    "an infinite error": (
        "compare",
        lambda folder: _replaced(folder / "statistics_error.csv", "mean_error", "inf"),
        "mean_error",
    ),
    "a cell of 200 kB": ("compare", _rows("30,0,1," + "y" * 200_000 + ",9"), "line 3"),
    "NUL": ("check", _written("provenance.json", "{\0}"), "provenance.json"),
    "deep json": ("check", _written("provenance.json", "[" * 9999 + "]" * 9999), "provenance.json"),
    "deep yaml": ("check", _written("config.yaml", "[" * 2000 + "]" * 2000), "config.yaml"),
    "flat but deep": ("compare", _written("config.yaml", "{a: " * 50 + "}" * 50), "config.yaml"),
    "recursive yaml": ("compare", _written("config.yaml", "&a {seed: 0, env: *a}"), "config.yaml"),
    "growing yaml": ("check", _written("overrides.yaml", f"l0: &l0 x\n{ALIASES}\n"), "overrides"),
    "a day that cannot be": (
        "compare",
        _written("config.yaml", "seed: 2026-99-99"),
        "config.yaml",
    ),
    "a long setting": (
        "compare",
        _config(lambda c: c["bn"].update(name="x" * 200_000)),
        "bn.name has 200,000 characters",
    ),
    "a folder in place of a file": ("compare", _folder("progress.csv"), "progress.csv"),
    "a folder in place of json": ("check", _folder("provenance.json"), "provenance.json"),
    "a pipe in place of a table": ("compare", _pipe("evaluations.csv"), "evaluations.csv"),
    "a pipe in place of json": ("check", _pipe("provenance.json"), "provenance.json"),
    "a pipe in place of a model": ("evaluate", _pipe("best_model.zip"), "best_model.zip"),
    "odd failures": (
        "resume",
        _written("failures.json", '[{"step": "x", "reason": [1]}, {"step": "x", "reason": [1]}]'),
        "",
    ),
}
"""What is damaged: the command that reads it, and what its one line names."""


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("damage", QUICK)
def test_one_line(
    damage: str,
    two_runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command, apply, words = QUICK[damage]
    source = two_runs["dqn"]
    folder = copied(source, tmp_path / "results" / source.relative_to(source.parents[2]))
    apply(folder)
    if damage == "odd failures":
        (folder / "DONE").rename(folder / "FAILED")
    elif not damage.startswith("done"):
        reseal(folder)
    status = COMMANDS[command][0](folder)
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    if not words:
        assert status == 0
        return
    assert status == 2
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert len(line) < 4000
