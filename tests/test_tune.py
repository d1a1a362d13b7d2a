"""The search for good settings: what it asks for, and how it goes on."""

from __future__ import annotations

import importlib.util
import math
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest
from omegaconf import DictConfig

from snnrl.errors import Interrupted, RunFailed
from snnrl.experiment.run import Result
from tests.experiment.helpers import SMALL

SCRIPT = Path(__file__).parent.parent / "scripts" / "tune.py"
SEARCH = ("bn=carebn,vanilla", "algo.learning_rate=tag(log,interval(1e-4,1e-2))")
FIXED = tuple(text for text in SMALL if not text.startswith("bn."))

pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tune", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def runs(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[DictConfig]:
    """Runs that the search has asked for; best is carebn at a rate of 1e-3."""
    asked: list[DictConfig] = []

    def run(cfg: DictConfig, overrides: list[str]) -> Result:
        asked.append(cfg)
        off = abs(math.log10(cfg.algo.learning_rate) + 3)
        return Result(Path(), cfg.seed + 10 * (cfg.bn.name == "carebn") - off, True)

    monkeypatch.setattr(script, "run", run)
    return asked


def tune(script: ModuleType, tmp_path: Path, trials: int, *more: str, seeds: int = 2) -> int:
    options = ["--trials", str(trials), "--seeds", str(seeds)]
    status: int = script.main([*options, *FIXED, *SEARCH, f"results_dir={tmp_path}", *more])
    return status


def chosen(cfg: DictConfig) -> tuple[str, float]:
    return cfg.bn.name, cfg.algo.learning_rate


@pytest.mark.slow
def test_the_best_is_the_mean_over_seeds(
    script: ModuleType, runs: list[DictConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(script, tmp_path, 12) == 0
    assert [cfg.seed for cfg in runs] == [0, 1] * 12
    trials = [chosen(cfg) for cfg in runs[::2]]
    assert trials == [chosen(cfg) for cfg in runs[1::2]]
    assert all(1e-4 <= rate <= 1e-2 for _, rate in trials)
    name, rate = max(trials, key=lambda t: (t[0] == "carebn", -abs(math.log10(t[1]) + 3)))
    *_, first, second = capsys.readouterr().out.splitlines()
    value = 0.5 + 10 - abs(math.log10(rate) + 3)
    assert first == f"best of 12 trials: return {value:.1f} with"
    assert sorted(second.split()) == sorted([f"bn={name}", f"algo.learning_rate={rate}"])


@pytest.mark.slow
def test_the_same_command_goes_on(
    script: ModuleType, runs: list[DictConfig], tmp_path: Path
) -> None:
    assert tune(script, tmp_path, 3) == 0
    assert tune(script, tmp_path, 3) == 0
    assert len(runs) == 6
    assert tune(script, tmp_path, 5) == 0
    trials = [chosen(cfg) for cfg in runs[::2]]
    assert len(set(trials)) == len(trials) == 5
    # Means over other seeds are another study.
    assert tune(script, tmp_path, 1, seeds=1) == 0
    assert len(runs) == 11


@pytest.mark.slow
def test_a_trial_that_was_cut_off_is_done_first(
    script: ModuleType,
    runs: list[DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = script.run

    def stopped(cfg: DictConfig, overrides: list[str]) -> Result:
        if len(runs) == 3:
            runs.append(cfg)
            raise Interrupted("stopped", signal.SIGTERM)
        return sound(cfg, overrides)

    monkeypatch.setattr(script, "run", stopped)
    assert tune(script, tmp_path, 3) == 143
    monkeypatch.setattr(script, "run", sound)
    assert tune(script, tmp_path, 3) == 0
    assert [chosen(cfg) for cfg in runs[2:6]] == [chosen(runs[2])] * 4
    assert len(runs) == 8


@pytest.mark.slow
def test_trials_that_fail(
    script: ModuleType,
    runs: list[DictConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(cfg: DictConfig, overrides: list[str]) -> Result:
        raise RunFailed("critic is not finite")

    sound = script.run
    monkeypatch.setattr(script, "run", fail)
    assert tune(script, tmp_path, 2) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("failed: no trial is done")
    monkeypatch.setattr(script, "run", sound)
    assert tune(script, tmp_path, 2) == 0


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["env=pendulum"], "nothing to search; expected a sweep"),
        (["algo.gama=interval(0,1)"], "did you mean 'algo.gamma'?"),
        (["algo.gamma=interval(2,3)"], "algo.gamma="),
        (["bn=carebn,vanila"], "did you mean 'vanilla'?"),
    ],
)
def test_a_mistake_is_one_line(
    script: ModuleType,
    settings: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert script.main([*settings, f"results_dir={tmp_path}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert words in lines[-1]
    assert "Traceback" not in "".join(lines)


def test_optuna_is_missing(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert script.main(["bn=carebn,vanilla"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: optuna is not installed; pip install 'snnrl[optuna]'"
