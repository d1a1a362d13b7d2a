"""Every command in the documentation runs: on tiny settings, from a folder of its own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from snnrl import classify, compare, convert, evaluate, export, inspect, reproduce, train
from snnrl.run_format.names import OWN_RUNS

TOP = Path(__file__).parent.parent
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]

TINY = [
    "total_steps=24",
    "algo.batch_size=8",
    "actor.hidden=[8]",
    "evaluation.every=24",
    "evaluation.episodes=1",
    "tracking=none",
]
REPLAY = ["algo.learning_starts=16", "algo.buffer_size=100"]
CLASSIFIER = [
    "epochs=1",
    "data.examples=16",
    "algo.batch_size=8",
    "actor.hidden=[8]",
    "tracking=none",
]
CRITIC = ["critic.hidden=[8,8]"]
ROLLOUT = ["algo.n_steps=8"]

OF_OTHERS = {
    "wandb": [sys.executable, "-m", "wandb", "sync", "--help"],
    "tensorboard": [sys.executable, "-m", "tensorboard.main", "--help"],
}
"""Programs that need a server or are one: that they are there is what is tested."""


def tiny(arguments: list[str]) -> list[str]:
    """What makes the command short, as its algorithm has it; its own tracking stays."""
    text = " ".join(arguments)
    short = [s for s in TINY if s != "tracking=none" or "tracking=" not in text]
    if "ppo" in text:
        short += [*CRITIC, *ROLLOUT]
    else:
        short += [*REPLAY, *([] if "dqn" in text else CRITIC)]
    keys = {setting.partition("=")[0] for setting in short}
    return [*(word for word in arguments if word.partition("=")[0] not in keys), *short]


def blocks(language: str) -> list[tuple[str, str]]:
    """``(page, text)`` of each fenced block."""
    found = []
    for page in PAGES:
        for text in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL):
            found.append((page.name, text))
    return found


def commands() -> list[Any]:
    """``(page, line)`` of each command; sweeps, games and those that start processes are slow."""
    lines = [(page, line) for page, text in blocks("sh") for line in text.strip().splitlines()]
    slow = (
        "snnrl.train -m",
        "snnrl.classify -m",
        "tune.py",
        "atari",
        "ALE/",
        "--help",
        "experiment=sac",
        "experiment=ppo",
        "critic=spiking",
        "checkpoint.every",
    )
    return [
        pytest.param(*line, marks=[pytest.mark.slow] if any(w in line[1] for w in slow) else [])
        for line in lines
    ]


FOLDERS = {
    "RUN_FOLDER": ["env=pendulum"],
    "ORDINARY_RUN": ["env=pendulum", "actor=ann", "evaluation.max_episode_steps=9"],
    "BNTT_RUN": ["env=pendulum", "bn=bntt"],
}
"""Placeholders of run folders, and the settings of the runs."""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns the run folder of a placeholder."""

    @cache
    def of(placeholder: str) -> Path:
        results = tmp_path_factory.mktemp("docs") / "results"
        assert train.main(tiny([*FOLDERS[placeholder], f"results_dir={results}"])) == 0
        return next(results.glob("*/*/seed-0"))

    return of


def test_there_are_commands_on_every_page_that_should_have_some():
    pages = {parameters.values[0] for parameters in commands()}
    assert pages >= {
        *("README.md", "reproducing.md", "sweeping.md", "converting.md", "exporting.md"),
        *("cost.md", "inspecting.md"),
    }


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("page", "line"), commands())
def test_command(page, line, run_folder, tmp_path, monkeypatch):
    for name in FOLDERS:
        if name in line:
            line = line.replace(name, str(run_folder(name)))
    words = shlex.split(line, comments=True)
    program, *arguments = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    if program == "make":
        answer = subprocess.run(["make", "-n", *arguments], cwd=TOP, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return
    if program in OF_OTHERS:
        assert subprocess.run(OF_OTHERS[program], capture_output=True).returncode == 0
        return
    if program.startswith("scripts/"):
        # What they do is the matter of test_scripts.py.
        assert os.access(TOP / program, os.X_OK)
        assert subprocess.run(["bash", "-n", TOP / program]).returncode == 0
        return
    if arguments[0].startswith("scripts/"):
        script = [sys.executable, TOP / arguments[0], "--trials", "2", "--seeds", "1"]
        assert subprocess.run([*script, *tiny(arguments[5:])], cwd=tmp_path).returncode == 0
        return
    assert (program, arguments[0]) == ("python", "-m"), f"{page}: no test knows how to run {line}"
    module, arguments = arguments[1], arguments[2:]
    monkeypatch.chdir(tmp_path)
    if module == "snnrl.train":
        # A sweep over five seeds is one over two here: what is tested is that it is one.
        asked = [a.replace("range(5)", "range(2)") for a in arguments]
        if any("hydra/launcher" in a for a in asked):
            asked = [a.replace("bn=carebn,vanilla", "bn=carebn") for a in asked]
        assert train.main(asked if "--help" in asked else tiny(asked)) == 0
    elif module == "snnrl.classify":
        pytest.importorskip("sklearn")
        asked = [a.replace("range(5)", "range(2)") for a in arguments]
        assert classify.main([*asked, *CLASSIFIER]) == 0
    elif module == "snnrl.evaluate":
        assert evaluate.main([a if a != "20" else "2" for a in arguments]) == 0
    elif module == "snnrl.convert":
        assert convert.main(arguments) == 0
    elif module == "snnrl.export":
        for package in {"nir", "onnx"} & set(arguments):
            pytest.importorskip(package)
        assert export.main(arguments) == 0
    elif module == "snnrl.inspect":
        assert inspect.main([*arguments, "--steps", "5"]) == 0
    elif module == "snnrl.reproduce":
        assert reproduce.main(arguments) == 0
    else:
        assert module == "snnrl.compare"
        named = next((a for a in arguments[:1] if not a.startswith("-")), OWN_RUNS)
        shutil.copytree(run_folder("RUN_FOLDER").parents[2], tmp_path / named)
        assert compare.main(arguments) == 0


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python(page, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(text.replace("2_000", "110"), page, "exec"), {})
