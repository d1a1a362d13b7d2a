from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from snnrl.errors import Interrupted, UserError
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.tracking.history import history
from snnrl.experiment.tracking.make import make_tracker
from snnrl.experiment.tracking.tracker import Tracker
from snnrl.experiment.tracking.wandb import OfflineWandb, resolve_mode
from tests.experiment.helpers import arguments, folder_of, rows_of, train
from tests.experiment.tracking.wandb_server import wandb_server


class FakeServer:
    """A W&B that remembers, across resumed runs, what it was sent."""

    def __init__(self) -> None:
        self.runs: list[FakeRun] = []
        self.history: dict[str, list[dict[str, Any]]] = {}

    def init(self, **arguments: Any) -> FakeRun:
        run = FakeRun(arguments, self.history.setdefault(arguments["id"], []))
        self.runs.append(run)
        return run


class FakeRun:
    """One W&B run; as the real one, it goes on after the last step that the server has."""

    url = "https://example.org/run"

    def __init__(self, arguments: dict[str, Any], logged: list[dict[str, Any]]):
        self.arguments = arguments
        kind = {"online": "run", "offline": "offline-run"}[arguments["mode"]]
        self.piece = Path(arguments["dir"]) / "wandb" / f"{kind}-1-{arguments['id']}"
        self.piece.mkdir(parents=True, exist_ok=True)
        self.dir = str(self.piece / "files")
        self.metrics: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        # An offline piece takes the place of what the server has.
        self.logged = logged if arguments.get("resume") else []
        self.starting_step = self.logged[-1]["_step"] + 1 if self.logged else 0
        self.exit_code: int | None = None

    def define_metric(self, *names: Any, **options: Any) -> None:
        self.metrics.append((names, options))

    def log(self, values: dict[str, Any], step: int) -> None:
        assert not self.logged or step > self.logged[-1]["_step"], "W&B would drop it"
        self.logged.append({**values, "_step": step})

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


class FakeError(Exception):
    """Stands for W&B's errors."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """Takes the place of W&B."""
    server = FakeServer()
    fake = ModuleType("wandb")
    vars(fake).update(
        init=server.init, Settings=SimpleNamespace, errors=SimpleNamespace(Error=FakeError)
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return server


@pytest.fixture(autouse=True)
def _no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("MODE", "API_KEY", "IDENTITY_TOKEN_FILE", "BASE_URL")
    for name in (*(f"WANDB_{name}" for name in names), "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x")


OFFLINE = "tracking.mode=offline"
ONLINE = "tracking.mode=online"


def as_logged(folder: RunFolder) -> list[dict[str, Any]]:
    """What W&B should have of a run: all that the csv files hold, each step once."""
    return [{"timesteps": s, **values, "_step": s} for s, values in history(folder)]


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the next run off there, after its last checkpoint, as SIGKILL would."""
    from snnrl.experiment.callbacks import Supervisor

    whole = Supervisor._on_rollout_start

    def cut(self: Supervisor) -> None:
        whole(self)
        if self.model.num_timesteps >= step:
            raise Interrupted("cut off", 9)

    monkeypatch.setattr(Supervisor, "_on_rollout_start", cut)


# What W&B is given


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.usefixtures("logged_in")
def test_wandb_has_what_the_csv_files_have(tmp_path: Path, server: FakeServer, mode: str) -> None:
    assert train(tmp_path, f"tracking.mode={mode}") == 0
    (run,) = server.runs
    assert (("timesteps",), {}) in run.metrics
    assert (("*",), {"step_metric": "timesteps"}) in run.metrics
    assert run.logged == as_logged(folder_of(tmp_path))
    assert [v["timesteps"] for v in run.logged if "evaluation/return" in v] == [0, 50, 100]
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


def test_the_history_has_means_of_episodes(tmp_path: Path) -> None:
    assert train(tmp_path) == 0
    folder = folder_of(tmp_path)
    curves = dict(history(folder))
    assert list(curves) == [0, 50, 100]
    returns = [float(r["return"]) for r in rows_of(folder, "evaluations") if r["timesteps"] == "50"]
    assert curves[50]["evaluation/return"] == sum(returns) / 2
    (row,) = [row for row in rows_of(folder, "progress") if row["timesteps"] == "100"]
    assert curves[100]["train/critic_loss"] == float(row["train/critic_loss"])
    assert "rollout/ep_rew_mean" not in curves[0]  # its cell is empty


@pytest.mark.slow
def test_a_run_is_named_after_its_settings(tmp_path: Path, server: FakeServer) -> None:
    for settings in (["seed=0"], ["seed=1"], ["seed=0", "bn=ca_only"]):
        assert train(tmp_path, *settings, OFFLINE) == 0
    first, other_seed, other_setting = [run.arguments for run in server.runs]
    assert first["group"] == other_seed["group"] != other_setting["group"]
    assert len({first["id"], other_seed["id"], other_setting["id"]}) == 3
    assert first["name"].endswith("-s0")
    assert other_seed["name"].endswith("-s1")
    assert first["tags"] == ["InvertedPendulum-v4", "td3", "spiking", "lif", "bn-carebn"]
    assert first["config"]["algo"]["batch_size"] == 8
    assert Path(first["dir"]).name == "seed-0"
    assert first["settings"].silent


@pytest.mark.slow
def test_names_are_short_and_tell_settings_apart(tmp_path: Path, server: FakeServer) -> None:
    for batches in (3, 4):
        assert train(tmp_path, f"bn.recalibrate_batches={batches}", OFFLINE) == 0
    first, second = [run.arguments for run in server.runs]
    setting = folder_of(tmp_path, "bn.recalibrate_batches=3").setting
    assert setting.startswith("td3-lif-carebn-")
    assert first["group"] == f"InvertedPendulum-v4/{setting}"
    assert first["name"] == f"{setting}-s0"
    assert "bn.recalibrate_batches=3" in first["notes"]
    assert first["group"] != second["group"]
    assert first["name"] != second["name"]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("id_", ["Short-v0", f"{'a' * 150}:Long-v0", f"ns/{'b' * 200}-v0"])
def test_a_long_name_keeps_its_end(
    id_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B takes 128 letters; the hash is among them whatever the environment is called."""
    opened: dict[str, Any] = {}

    def init(**arguments: Any) -> MagicMock:
        opened.update(arguments)
        return MagicMock()

    monkeypatch.setattr("wandb.init", init)
    cfg = compose_config(arguments(tmp_path, f"env.id='{id_}'", "tracking.mode=offline"))
    cfg.env.id = id_
    folder = RunFolder(cfg)
    OfflineWandb(cfg, folder, None)._open(mode="offline")
    for name, end in (("group", folder.setting), ("name", f"{folder.setting}-s0")):
        assert len(opened[name]) <= 128
        assert opened[name].endswith(end)


def test_an_ordinary_actor_has_no_neuron_in_its_tags(tmp_path: Path, server: FakeServer) -> None:
    assert train(tmp_path, "actor=ann", "bn=none", "bn.recalibrate_every=null", OFFLINE) == 0
    assert server.runs[0].arguments["tags"] == ["InvertedPendulum-v4", "td3", "ann", "bn-none"]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.usefixtures("logged_in")
def test_a_failed_run_is_failed_in_wandb(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("snnrl.experiment.callbacks.errors_of_statistics", fail)
    assert train(tmp_path, f"tracking.mode={mode}") == 1
    assert server.runs[0].exit_code == 1


@pytest.mark.slow
def test_two_folders_of_one_setting_are_two_runs(tmp_path: Path, server: FakeServer) -> None:
    for name in ("ours", "theirs"):
        assert train(tmp_path / name, OFFLINE) == 0
    ours, theirs = (run.arguments["id"] for run in server.runs)
    assert ours != theirs


# A run that goes on

GOING_ON = ("checkpoint.every=40", "log_every=10")


@pytest.mark.slow
@pytest.mark.usefixtures("logged_in")
def test_online_nothing_is_there_twice_after_a_run_was_cut_off(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patches:
        stop_at(70, patches)
        train(tmp_path, ONLINE, *GOING_ON)
    assert server.runs[0].logged[-1]["_step"] == 70
    assert train(tmp_path, ONLINE, *GOING_ON) == 0
    first, second = server.runs
    assert second.arguments["resume"] == "allow"
    assert first.arguments["id"] == second.arguments["id"]
    steps = [values["_step"] for values in second.logged]
    assert steps == list(range(0, 101, 10))
    clocks = ("time/fps", "time/time_elapsed")
    for theirs, ours in zip(second.logged, as_logged(folder_of(tmp_path)), strict=True):
        assert {k: v for k, v in theirs.items() if k not in clocks} == {
            k: v for k, v in ours.items() if k not in clocks
        }


@pytest.mark.slow
@pytest.mark.usefixtures("logged_in")
def test_online_gets_what_it_has_missed(tmp_path: Path, server: FakeServer) -> None:
    assert train(tmp_path, OFFLINE) == 0
    assert train(tmp_path, ONLINE, "total_steps=150") == 0
    folder = folder_of(tmp_path)
    assert server.runs[1].arguments["id"] == server.runs[0].arguments["id"]
    assert server.runs[1].logged == as_logged(folder)
    assert not list((folder.path / "wandb").glob("offline-run-*"))


@pytest.mark.slow
def test_offline_there_is_one_piece_with_everything(
    tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patches:
        stop_at(70, patches)
        train(tmp_path, OFFLINE, *GOING_ON)
    folder = folder_of(tmp_path)
    assert server.runs[0].logged == as_logged(folder)
    assert train(tmp_path, OFFLINE, *GOING_ON) == 0
    assert train(tmp_path, OFFLINE, *GOING_ON, "total_steps=130") == 0
    assert len({run.arguments["id"] for run in server.runs}) == 1
    assert server.runs[-1].logged == as_logged(folder)
    assert len(list((folder.path / "wandb").glob("offline-run-*"))) == 1


def test_offline_a_run_that_goes_on_is_written_before_it_ends(
    tmp_path: Path, server: FakeServer
) -> None:
    assert train(tmp_path, OFFLINE) == 0
    folder = folder_of(tmp_path)
    make_tracker(folder_of(tmp_path, OFFLINE).cfg, folder).begin()
    before_the_end = server.runs[-1]
    assert before_the_end is not server.runs[0]
    assert before_the_end.logged == as_logged(folder)
    assert before_the_end.exit_code == 1


# W&B that does not work


def test_auto_without_login_is_offline_and_says_how_to_sync(
    tmp_path: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "tracking.mode=auto") == 0
    assert server.runs[0].arguments["mode"] == "offline"
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "W&B" in line]
    assert "not logged in" in line
    assert f"wandb sync {folder_of(tmp_path).path}/wandb/offline-run-*" in line


@pytest.mark.slow
def test_disabled_does_not_touch_wandb(tmp_path: Path, server: FakeServer) -> None:
    assert train(tmp_path / "a", "tracking=none") == 0
    assert train(tmp_path / "b", "tracking.mode=disabled") == 0
    assert server.runs == []


def test_online_without_login_is_refused_and_leaves_nothing(
    tmp_path: Path, server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    results_dir = tmp_path / "results"
    assert train(results_dir, ONLINE) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "tracking.mode=online" in line
    assert "wandb login" in line
    assert server.runs == []
    assert not results_dir.exists()


@pytest.fixture
def no_network(server: FakeServer, logged_in: None, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    def init(**arguments: Any) -> FakeRun:
        if arguments["mode"] == "offline":
            return server.init(**arguments)
        (Path(arguments["dir"]) / "wandb").mkdir(exist_ok=True)
        raise FakeError("no network\nmore")

    monkeypatch.setattr(sys.modules["wandb"], "init", init)
    return server


def test_online_that_fails_is_refused_and_leaves_nothing(
    tmp_path: Path, no_network: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    results_dir = tmp_path / "results"
    assert train(results_dir, ONLINE) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "tracking.mode=online" in line
    assert "'no network'" in line
    assert "tracking.mode=offline" in line
    assert not results_dir.exists()


def test_online_that_fails_leaves_an_earlier_run_as_it_was(
    tmp_path: Path, no_network: FakeServer
) -> None:
    assert train(tmp_path) == 0
    path = folder_of(tmp_path).path
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    assert train(tmp_path, ONLINE, "total_steps=200") == 2
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_auto_without_network_is_offline_and_says_so(
    tmp_path: Path, no_network: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "tracking.mode=auto") == 0
    assert no_network.runs[0].logged == as_logged(folder_of(tmp_path))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "W&B" in line]
    assert "offline (W&B answered 'no network')" in line


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("method", ["log", "finish"])
@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.usefixtures("logged_in")
def test_a_tracker_that_fails_does_not_fail_the_run(
    tmp_path: Path,
    server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mode: str,
    method: str,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("the service has ended")

    monkeypatch.setattr(FakeRun, method, fail)
    assert train(tmp_path, f"tracking.mode={mode}") == 0
    assert (folder_of(tmp_path).path / "DONE").exists()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "is disabled" in line]
    assert line.startswith("W&B is disabled (the service has ended)")


@pytest.mark.usefixtures("logged_in")
def test_what_is_not_uploaded_in_time_can_be_synced(
    tmp_path: Path,
    server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def late(*_: Any, **__: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(FakeRun, "finish", late)
    assert train(tmp_path, ONLINE) == 0
    assert server.runs[0].arguments["settings"].finish_timeout > 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "sync" in line]
    assert f"wandb sync --include-online {server.runs[0].piece}" in line


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


@pytest.mark.parametrize(
    ("host", "mode"),
    [
        ("api.forge.coreweave.com", "online"),
        ("api.wandb.ai", "online"),
        ("example.org", "offline"),
    ],
)
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


@pytest.mark.parametrize("host", ["example.org", "localhost:8080"])
def test_a_host_of_ones_own(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text(f"machine {host} login user password x\n")
    (tmp_path / "home" / ".netrc").chmod(0o600)
    monkeypatch.setenv("WANDB_BASE_URL", f"https://{host}")
    assert resolve_mode("auto") == "online"


def test_a_token_file_is_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", "token")
    assert resolve_mode("auto") == "online"


@pytest.mark.parametrize("text", ["machine", "machine api.wandb.ai login"])
def test_a_broken_login_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text(text)
    assert resolve_mode("auto") == "offline"


def test_the_tracker_refuses_online_from_python_too(tmp_path: Path, server: FakeServer) -> None:
    cfg = compose_config([ONLINE])
    with pytest.raises(UserError, match="not logged in"):
        make_tracker(cfg, folder_of(tmp_path))


# The real one


def records(piece: Path) -> Iterator[Any]:
    """The records of a ``.wandb`` file: a LevelDB log (blocks of 32 KiB) of protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = piece.glob("*.wandb")
    data, at, text = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        text += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(text)
            text = b""


def logged_in_piece(piece: Path) -> list[dict[str, Any]]:
    rows = [
        {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
        for record in records(piece)
        if record.WhichOneof("record_type") == "history"
    ]
    return [{k: v for k, v in row.items() if k not in ("_timestamp", "_runtime")} for row in rows]


@pytest.mark.slow
def test_a_real_offline_run_that_goes_on_is_one_piece(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for total in (100, 150):
        assert train(tmp_path, "tracking.mode=auto", f"total_steps={total}") == 0
        folder = folder_of(tmp_path)
        (piece,) = (folder.path / "wandb").glob("offline-run-*")
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "W&B" in line]
        assert f"wandb sync {piece.parent}/offline-run-*" in line
        assert logged_in_piece(piece) == as_logged(folder)
        (run,) = [r.run for r in records(piece) if r.WhichOneof("record_type") == "run"]
        assert run.run_id == (folder.path / "wandb" / "run-id").read_text().strip()
        assert run.run_group == f"InvertedPendulum-v4/{folder.setting}"
        assert run.notes.startswith("td3-spiking-lif-carebn-naive-")


@pytest.mark.slow
def test_an_offline_run_that_is_synced_twice_is_there_once(tmp_path: Path) -> None:
    with wandb_server() as here:
        for total in (70, 130):
            assert train(tmp_path, OFFLINE, f"total_steps={total}") == 0
            folder = folder_of(tmp_path)
            subprocess.run(
                [sys.executable, "-m", "wandb", "sync", str(folder.path / "wandb")],
                env={**os.environ, "WANDB_BASE_URL": here.url, "WANDB_API_KEY": "x" * 40},
                check=True,
                capture_output=True,
                timeout=100,
            )
            (run,) = here.history
            assert [row["_step"] for row in here.rows(run)] == list(dict(history(folder)))


@pytest.fixture
def fresh_wandb() -> Iterator[None]:
    """W&B reads the environment once a process."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_wandb")
def test_the_real_one_online_has_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with wandb_server() as here:
        monkeypatch.setenv("WANDB_BASE_URL", here.url)
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        with monkeypatch.context() as patches:
            stop_at(70, patches)
            train(tmp_path, ONLINE, *GOING_ON)
        ((run, _),) = here.history.items()
        assert [row["_step"] for row in here.rows(run)] == list(range(0, 71, 10))
        assert train(tmp_path, ONLINE, *GOING_ON) == 0
        assert "WARNING" not in capsys.readouterr().err
        assert list(here.history) == [run]
        assert here.exit_codes == {run: 0}
        rows = here.rows(run)
    assert [row["_step"] for row in rows] == list(range(0, 101, 10))
    curves = dict(history(folder_of(tmp_path)))
    returns = {s: v["evaluation/return"] for s, v in curves.items() if "evaluation/return" in v}
    assert {r["timesteps"]: r["evaluation/return"] for r in rows if "evaluation/return" in r} == (
        returns
    )


# TensorBoard


def scalars(folder: RunFolder) -> dict[int, dict[str, float]]:
    """Step -> name -> value, and that none is there twice."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (file,) = (folder.path / "tensorboard").iterdir()
    events = accumulator.EventAccumulator(str(file), size_guidance={"scalars": 0}).Reload()
    found: dict[int, dict[str, float]] = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            assert name not in found.setdefault(event.step, {})
            found[event.step][name] = event.value
    return found


@pytest.mark.slow
def test_tensorboard_has_what_the_csv_files_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    for total in (70, 130):
        assert train(tmp_path, "tracking=tensorboard", f"total_steps={total}") == 0
        folder = folder_of(tmp_path)
        curves, shown = dict(history(folder)), scalars(folder)
        assert shown.keys() == curves.keys()
        for step, values in curves.items():
            assert shown[step] == pytest.approx(values, rel=1e-6)
    assert f"tensorboard --logdir {tmp_path}" in capsys.readouterr().err


def test_tensorboard_that_is_not_installed_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert train(tmp_path / "results", "tracking=tensorboard") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "tracking=tensorboard" in line
    assert "pip install 'snnrl[tensorboard]'" in line
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("choice", ["tensorboard", "none"])
def test_settings_of_wandb_are_wandbs(choice: str) -> None:
    with pytest.raises(UserError, match=r"tracking\.mode: expected only with tracking=wandb"):
        compose_config([f"tracking={choice}", "tracking.mode=offline"])


def test_no_tracking_shows_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "tracking=none")
    tracker = make_tracker(folder.cfg, folder)
    assert type(tracker) is Tracker
    assert tracker.message is None
