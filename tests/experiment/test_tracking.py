from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from snnrl.errors import UserError
from snnrl.experiment.config import compose_config
from snnrl.experiment.tracking import Tracker, resolve_mode
from tests.experiment.helpers import arguments, folder_of, train


class FakeRun:
    """Remembers what it is told."""

    url = "https://example.org/run"

    def __init__(self, arguments: dict[str, Any]):
        self.arguments = arguments
        self.dir = f"{arguments['dir']}/wandb/offline-run-1/files"
        self.metrics: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.logged: list[dict[str, Any]] = []
        self.exit_code: int | None = None

    def define_metric(self, *names: Any, **options: Any) -> None:
        self.metrics.append((names, options))

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


class FakeError(Exception):
    """Stands for W&B's errors."""


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    """The runs that a fake W&B is asked for."""
    runs: list[FakeRun] = []

    def init(**arguments: Any) -> FakeRun:
        runs.append(FakeRun(arguments))
        return runs[-1]

    fake = ModuleType("wandb")
    vars(fake).update(init=init, Settings=SimpleNamespace, errors=SimpleNamespace(Error=FakeError))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return runs


@pytest.fixture(autouse=True)
def _no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


OFFLINE = "tracking.mode=offline"


def test_everything_reaches_wandb(tmp_path: Path, runs: list[FakeRun]) -> None:
    assert train(tmp_path, OFFLINE) == 0
    (run,) = runs
    assert (("timesteps",), {}) in run.metrics
    assert (("*",), {"step_metric": "timesteps"}) in run.metrics
    assert all("timesteps" in values for values in run.logged)
    steps = [v["timesteps"] for v in run.logged if "evaluation/return" in v]
    assert steps == [0, 50, 100]
    names = {name for values in run.logged for name in values}
    assert {
        "evaluation/return",
        "evaluation/length",
        "rollout/ep_rew_mean",
        "train/actor_loss",
        "train/critic_loss",
        "time/fps",
        "firing_rate/encoder",
        "firing_rate/layer0",
        "firing_rate/layer1",
        "gain_mean/layer0",
        "gain_var/layer1",
        "statistics_error/replay/before/layer0/wasserstein2",
        "statistics_error/evaluation/before/layer1/mean_error",
    } <= names
    assert run.exit_code == 0


def test_a_run_is_named_after_its_settings(tmp_path: Path, runs: list[FakeRun]) -> None:
    for settings in (["seed=0"], ["seed=1"], ["seed=0"], ["seed=0", "bn=ca_only"]):
        folder = folder_of(tmp_path, *settings, OFFLINE)
        folder.path.mkdir(parents=True, exist_ok=True)
        Tracker(folder.cfg, folder)
    first, other_seed, again, other_setting = [run.arguments for run in runs]
    assert first == again
    assert first["group"] == other_seed["group"] != other_setting["group"]
    assert len({first["id"], other_seed["id"], other_setting["id"]}) == 3
    assert first["tags"] == ["InvertedPendulum-v4", "td3", "spiking", "lif", "bn-carebn"]
    assert first["config"]["algo"]["batch_size"] == 8
    assert Path(first["dir"]).name == "seed-0"
    assert first["settings"].silent


def test_groups_of_one_label_and_two_settings_differ(tmp_path: Path, runs: list[FakeRun]) -> None:
    """The label is cut where it grows too long; what is cut off still tells settings apart."""
    for batches in (3, 4):
        folder = folder_of(tmp_path, f"bn.recalibrate_batches={batches}", OFFLINE)
        Tracker(folder.cfg, folder)
    assert runs[0].arguments["group"] != runs[1].arguments["group"]


def test_an_ordinary_actor_has_no_neuron_in_its_tags(tmp_path: Path, runs: list[FakeRun]) -> None:
    folder = folder_of(tmp_path, "actor=ann", "bn.recalibrate_every=null", OFFLINE)
    Tracker(folder.cfg, folder)
    assert runs[0].arguments["tags"] == ["InvertedPendulum-v4", "td3", "ann", "bn-none"]


def test_a_failed_run_is_failed_in_wandb(
    tmp_path: Path, runs: list[FakeRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("snnrl.experiment.callbacks.errors_of_statistics", fail)
    assert train(tmp_path, OFFLINE) == 1
    assert runs[0].exit_code == 1


def test_auto_without_login_is_offline_and_says_how_to_sync(
    tmp_path: Path, runs: list[FakeRun], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "tracking.mode=auto") == 0
    assert runs[0].arguments["mode"] == "offline"
    lines = [line for line in capsys.readouterr().err.splitlines() if "W&B" in line]
    assert len(lines) == 1
    assert f"wandb sync {folder_of(tmp_path).path}/wandb/offline-run-*" in lines[0]


def test_disabled_does_not_touch_wandb(tmp_path: Path, runs: list[FakeRun]) -> None:
    assert train(tmp_path, "tracking=none", "tracking.mode=disabled") == 0
    assert runs == []


def test_online_without_login_is_refused_and_leaves_nothing(
    tmp_path: Path, runs: list[FakeRun], capsys: pytest.CaptureFixture[str]
) -> None:
    results_dir = tmp_path / "results"
    assert train(results_dir, "tracking.mode=online") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "tracking.mode=online" in line
    assert "wandb login" in line
    assert runs == []
    assert not results_dir.exists()


def test_online_that_fails_is_refused_and_leaves_nothing(
    tmp_path: Path,
    runs: list[FakeRun],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def init(**arguments: Any) -> None:
        (Path(arguments["dir"]) / "wandb").mkdir()
        raise FakeError("no network\nmore")

    monkeypatch.setenv("WANDB_API_KEY", "x")
    monkeypatch.setattr(sys.modules["wandb"], "init", init)
    results_dir = tmp_path / "results"
    assert train(results_dir, "tracking.mode=online") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "tracking.mode=online" in line
    assert "'no network'" in line
    assert "tracking.mode=offline" in line
    assert not results_dir.exists()


def test_online_that_fails_leaves_an_earlier_run_as_it_was(
    tmp_path: Path, runs: list[FakeRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(tmp_path) == 0
    path = folder_of(tmp_path).path

    def init(**_: Any) -> None:
        raise FakeError

    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    monkeypatch.setenv("WANDB_API_KEY", "x")
    monkeypatch.setattr(sys.modules["wandb"], "init", init)
    assert train(tmp_path, "tracking.mode=online", "total_steps=200") == 2
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


# Which mode


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_an_explicit_mode_decides(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online" if mode == "disabled" else "disabled")
    assert resolve_mode(mode) == mode


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_auto_listens_to_the_environment(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    assert resolve_mode("auto") == mode


def test_auto_is_online_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert resolve_mode("auto") == "online"


@pytest.mark.parametrize(("host", "mode"), [("api.wandb.ai", "online"), ("example.org", "offline")])
@pytest.mark.parametrize("variable", [True, False])
def test_auto_is_online_with_a_login(
    host: str, mode: str, variable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "elsewhere" if variable else tmp_path / "home" / ".netrc"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"machine {host}\n login user\n password x\n")
    path.chmod(0o600)
    if variable:
        monkeypatch.setenv("NETRC", str(path))
    assert resolve_mode("auto") == mode


def test_a_host_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text("machine example.org login user password x\n")
    (tmp_path / "home" / ".netrc").chmod(0o600)
    monkeypatch.setenv("WANDB_BASE_URL", "https://example.org")
    assert resolve_mode("auto") == "online"


@pytest.mark.parametrize("text", ["machine", "machine api.wandb.ai login"])
def test_a_broken_login_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text(text)
    assert resolve_mode("auto") == "offline"


def test_the_tracker_refuses_online_from_python_too(tmp_path: Path, runs: list[FakeRun]) -> None:
    cfg = compose_config(["tracking.mode=online"])
    with pytest.raises(UserError, match="not logged in"):
        Tracker(cfg, folder_of(tmp_path))


# The real one


def test_a_real_offline_run_asks_nothing(tmp_path: Path) -> None:
    script = f"import sys; from snnrl.train import main; sys.exit(main({arguments(tmp_path)!r}))"
    script = script.replace("tracking.mode=disabled", "tracking.mode=auto")
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = folder_of(tmp_path).path
    (run,) = (folder / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))
    (line,) = [line for line in done.stderr.splitlines() if "sync" in line]
    assert f"wandb sync {run.parent}/offline-run-*" in line
    assert (folder / "DONE").exists()
