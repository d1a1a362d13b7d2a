"""Runs whose components or environment are somebody's own modules, of which the source changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import gymnasium
import pytest

from snnrl import compare, evaluate, reproduce
from snnrl.experiment.config import facts, plugins
from snnrl.experiment.config.nodes import NODES, setting_types
from snnrl.experiment.reproduction.own_code import code_of
from snnrl.nn import registry
from tests.damage import reseal
from tests.experiment.helpers import train

PARTS = """
from typing import Any
from torch import stack, zeros_like
from snnrl.nn.neurons import Neuron
from snnrl.nn.registry import register
from own_lab.numbers import LEAK


@register("neuron", "leaking")
class Leaking(Neuron):
    def forward(self, x: Any, state: Any = None) -> Any:
        membrane, spikes = zeros_like(x[0]) if state is None else state, []
        for step, current in enumerate(x):
            membrane = LEAK * membrane + current
            spikes.append(self.surrogate(membrane, self.threshold.level(), step))
        return stack(spikes), membrane
"""
WORLD = """
import gymnasium
from own_lab.prices import PRICE
from tests.envs import Follow


class Line(Follow):
    def step(self, action):
        observation, reward, *ended = super().step(action)
        return observation, PRICE * reward, *ended


class Halved(gymnasium.RewardWrapper):
    def reward(self, reward):
        return reward / 2


gymnasium.register("OwnLine-v0", Line)
"""
FILES = {"__init__": "", "parts": PARTS, "numbers": "LEAK = 0.5\n", "world": WORLD}
FILES |= {"prices": "PRICE = 1.0\n"}
PLUGIN = ["plugins=[own_lab.parts]", "neuron=leaking", "env=inverted_pendulum"]
ENVIRONMENT = ["env.id=own_lab.world:OwnLine-v0"]
SHORT = ["total_steps=30", "evaluation.episodes=1", "bn.recalibrate_every=null", "tracking=none"]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of somebody's own, on the path; afterwards nobody knows of it."""
    folder = tmp_path / "modules" / "own_lab"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setattr(
        registry, "_components", {k: {**v} for k, v in registry._components.items()}
    )
    for group, choices in facts.components().items():
        monkeypatch.setitem(facts.components(), group, {**choices})
        monkeypatch.setitem(NODES, group, {**NODES[group]})
    monkeypatch.setattr(plugins, "_loaded", set())
    monkeypatch.setattr(plugins, "_plugins_of", {})
    setting_types.cache_clear()
    yield folder
    for module in [name for name in sys.modules if name.split(".")[0] == "own_lab"]:
        sys.modules.pop(module)
    gymnasium.registry.pop("OwnLine-v0", None)
    setting_types.cache_clear()


def run(results: Path, *settings: str, status: int = 0) -> list[Path]:
    """Train, and return the run folders that are there."""
    assert train(results, *SHORT, *settings) == status
    return sorted(results.glob("*/*/seed-*"))


def forget_sources(folder: Path) -> None:
    """Make a run folder as an earlier version left it."""
    file = folder / "provenance.json"
    known = json.loads(file.read_text())
    assert known.pop("sources")
    file.write_text(json.dumps(known))
    reseal(folder)


@pytest.mark.parametrize("file", ["parts", "numbers"])
def test_a_done_run_of_another_plugin_is_not_done(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    results = tmp_path / "runs"
    (folder,) = run(results, *PLUGIN)
    run(results, *PLUGIN)
    assert "already done" in capsys.readouterr().out
    with (lab / f"{file}.py").open("a") as source:
        source.write("LEAK = 0.9\n")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run(results, *PLUGIN, status=2)
    error = capsys.readouterr().err
    assert f"the source of own_lab.{file} has changed since {folder} was trained" in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_compare_names_seeds_of_different_source(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "runs"
    run(results, *PLUGIN, "seed=0")
    first, second = run(results, *PLUGIN, "seed=1")
    command = [str(results), "--out", str(tmp_path / "out")]
    assert compare.main(command) == 0
    assert "source" not in capsys.readouterr().out
    (lab / "numbers.py").write_text("LEAK = 0.9\n")
    *_, third = run(results, *PLUGIN, "seed=2")
    assert compare.main(command) == 0
    (note,) = [line for line in capsys.readouterr().out.splitlines() if "source" in line]
    assert "the source of own_lab.numbers differs, so these runs are of different code" in note
    assert note.index(str(first)) < note.index(str(second)) < note.index(str(third))
    forget_sources(first)
    assert compare.main(command) == 0
    (note,) = [line for line in capsys.readouterr().out.splitlines() if "source" in line]
    assert "own_lab.numbers differs" in note and str(first) not in note


def test_evaluate_says_that_the_source_is_another(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = run(tmp_path / "runs", *PLUGIN)
    command = [str(folder), "--episodes", "1", "--module", "own_lab.parts"]
    assert evaluate.main(command) == 0
    assert "source" not in capsys.readouterr().out
    with (lab / "parts.py").open("a") as source:
        source.write("# Another equation.\n")
    assert evaluate.main(command) == 0
    assert "the source of own_lab.parts is not that of the run" in capsys.readouterr().out


@pytest.mark.parametrize("file", ["world", "prices"])
def test_a_run_is_not_resumed_in_another_environment(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    results = tmp_path / "runs"
    (folder,) = run(results, *ENVIRONMENT)
    known = json.loads((folder / "provenance.json").read_text())["sources"]
    assert {"own_lab.world", "own_lab.prices", "tests.envs"} <= known.keys()
    assert not any(name.split(".")[0] in ("snnrl", "gymnasium", "numpy") for name in known)
    with (lab / f"{file}.py").open("a") as source:
        source.write("PRICE = 3.0\n")
    for steps in (30, 60):
        run(results, *ENVIRONMENT, f"total_steps={steps}", status=2)
        error = capsys.readouterr().err
        assert f"the source of own_lab.{file} has changed since {folder} was trained" in error
    module = ["--module", "own_lab.world"]
    assert reproduce.main([str(folder), "--check", *module]) == 1
    out = capsys.readouterr().out
    assert f"source of own_lab.{file}" in out and "the same code" not in out
    assert evaluate.main([str(folder), "--episodes", "1", *module, "--module", "tests"]) == 0
    assert f"the source of own_lab.{file} is not that of the run" in capsys.readouterr().out


def test_a_wrapper_is_code_too(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["env=inverted_pendulum", "env.wrappers=['own_lab.world:Halved']"]
    run(tmp_path / "runs", *settings)
    (lab / "world.py").write_text(WORLD.replace("reward / 2", "reward / 4"))
    run(tmp_path / "runs", *settings, status=2)
    assert "the source of own_lab.world has changed" in capsys.readouterr().err


def test_of_an_earlier_run_nothing_false_is_said(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "runs"
    (folder,) = run(results, *ENVIRONMENT)
    forget_sources(folder)
    run(results, *ENVIRONMENT)
    out = capsys.readouterr().out
    assert "already done" in out
    assert f"{folder}: the source of own_lab.world, " in out and "was not recorded" in out
    module = ["--module", "own_lab.world"]
    assert reproduce.main([str(folder), "--check", *module]) == 1
    out = capsys.readouterr().out
    assert "source of own_lab.world: not recorded there" in out and "the same code" not in out
    assert evaluate.main([str(folder), "--episodes", "1", *module, "--module", "tests"]) == 0
    assert "the source of own_lab.world, " in (out := capsys.readouterr().out)
    assert "was not recorded" in out and "not that of the run" not in out
    run(results, *ENVIRONMENT, "total_steps=40")
    assert "was not recorded" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("method", "refused"),
    [
        ("", "neuron=leaking: has no forward; expected forward(x[T, B, N, ...], state=None)"),
        ("def forward(self, x, state=None): return x.mean(2), None", "forward returned spikes ["),
        (
            "def forward(self, x, state=None): return 1 / 0",
            "ZeroDivisionError: division by zero, ",
        ),
    ],
)
def test_a_plugin_that_does_not_work_is_refused_before_there_is_a_folder(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str, refused: str
) -> None:
    head, _, _ = PARTS.partition("    def forward")
    (lab / "parts.py").write_text(f"{head}    {method or 'pass'}\n")
    assert run(tmp_path / "runs", *PLUGIN, status=2) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: neuron=leaking: ") and refused in line
    assert not (tmp_path / "runs").exists()


def test_installed_packages_are_known_by_their_version() -> None:
    code = code_of([], {"env": {"id": "minatar:Own-v0", "wrappers": ["torch.nn:Wrap", "Clip"]}})
    assert code.all() == {}
    assert code.versions == {name: version(name) for name in ("MinAtar", "torch")}


@pytest.mark.parametrize("env", [None, [], {"id": 3}, {"id": ":", "wrappers": [{}, None, "a b:C"]}])
def test_settings_of_a_stranger_name_nothing(env: object) -> None:
    assert code_of([], {"env": env}) == ({}, {}, {})


def test_runs_without_own_code_have_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = run(tmp_path / "runs", "env=pendulum")
    assert json.loads((folder / "provenance.json").read_text())["sources"] == {}
    forget = json.loads((folder / "provenance.json").read_text())
    del forget["sources"]
    (folder / "provenance.json").write_text(json.dumps(forget))
    reseal(folder)
    assert reproduce.main([str(folder), "--check"]) == 0
    assert "the same code" in capsys.readouterr().out
