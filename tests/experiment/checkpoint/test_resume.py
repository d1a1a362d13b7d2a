"""A run that was stopped and started again ends as if it had not been stopped."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.progress import Progress
from tests.experiment.helpers import (
    assert_same,
    assert_same_run,
    folder_of,
    parameters,
    rows_of,
    slow_case,
    train,
)
from tests.experiment.stopped import Crash

Stop = Callable[[int, Callable[[], None]], None]
Whole = Callable[..., RunFolder]
PENDULUM = ["env=pendulum", "evaluation.episodes=1"]


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Do something once, in the middle of an environment step."""

    def plan(step: int, action: Callable[[], None]) -> None:
        original = Progress.step_to

        def step_to(progress: Progress, timesteps: int) -> None:
            original(progress, timesteps)
            if timesteps == step:
                monkeypatch.setattr(Progress, "step_to", original)
                action()

        monkeypatch.setattr(Progress, "step_to", step_to)

    return plan


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The run that nothing stops; each once."""
    results_dir = tmp_path_factory.mktemp("whole")

    def run(*settings: str) -> RunFolder:
        assert train(results_dir, *settings) == 0
        return folder_of(results_dir, *settings)

    return run


def crash() -> None:
    raise Crash


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("settings", "number", "status"),
    [
        (["algo=td3"], signal.SIGTERM, 143),
        ([*PENDULUM, "algo=ddpg", "algo.train_freq=3"], signal.SIGINT, 130),
    ],
)
def test_a_signal(
    settings: list[str],
    number: signal.Signals,
    status: int,
    tmp_path: Path,
    at_step: Stop,
    whole: Whole,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped = folder_of(tmp_path / "stopped", *settings)
    for step in (50, 67):  # on an evaluation, and between two
        at_step(step, lambda: signal.raise_signal(number))
        assert train(tmp_path / "stopped", *settings) == status
        assert "the same command resumes" in capsys.readouterr().err.splitlines()[-1]
        assert not (stopped.path / "DONE").exists()
        assert not (stopped.path / "FAILED").exists()
        assert stopped.model.exists()
    assert train(tmp_path / "stopped", *settings) == 0
    assert "resuming from step 6" in capsys.readouterr().out
    assert_same_run(stopped, whole(*settings))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "settings",
    [
        slow_case([*PENDULUM, "algo=td3", "checkpoint.every=45"]),
        slow_case(["algo=ddpg", "checkpoint.every=45", "bn=re_only"]),
        ["actor=ann", "bn.recalibrate_every=null", "checkpoint.every=45"],
        slow_case(["kernel=compile", "checkpoint.every=45"]),
        *(
            slow_case(
                [
                    *PENDULUM,
                    f"algo={algo}",
                    "checkpoint.every=45",
                    "algo.normalize_observations=true",
                    *("actor.readout=membrane", "actor.lateral=intra", "actor.membrane_value=max"),
                ]
            )
            for algo in ("td3", "sac")
        ),
        slow_case(  # Episodes end before the checkpoint, between it and the crash, and after.
            [
                *PENDULUM,
                "algo=td3",
                "checkpoint.every=45",
                "algo.normalize_observations=true",
                "+env.kwargs.max_episode_steps=17",
            ]
        ),
        ["algo=dqn", "env=cartpole", "checkpoint.every=45", "algo.target_update_updates=7"],
        slow_case([*PENDULUM, "algo=sac", "critic=spiking", "checkpoint.every=45"]),
        slow_case([*PENDULUM, "algo=ppo", "critic=spiking", "checkpoint.every=45"]),
        slow_case(
            [*PENDULUM, "algo=sac", "critic=spiking", "encoder=poisson", "checkpoint.every=45"]
        ),
        slow_case([*PENDULUM, "algo=ppo", "encoder=poisson", "checkpoint.every=45"]),
        slow_case([*PENDULUM, "algo=td3", "encoder=population_poisson", "checkpoint.every=45"]),
        *(
            slow_case([*PENDULUM, *learner, f"neuron={neuron}", "checkpoint.every=45"])
            for neuron, learner in (
                ("plif", ["algo=sac", "critic=spiking"]),
                ("plif", ["algo=ppo", "critic=spiking"]),
                ("alif", ["algo=td3"]),
                ("ternary", ["algo=ddpg", "critic=spiking"]),
                ("circulate_firing", ["algo=td3", "critic=spiking"]),
                ("dn_mdcsan", ["algo=td3"]),
            )
        ),
        *(
            slow_case([*PENDULUM, *learner, "target=proxy", "target.hidden=[8,8]"])
            for learner in (
                ["algo=td3", "critic=spiking", "encoder=poisson", "checkpoint.every=45"],
                ["algo=ddpg", "actor=ann", "bn.recalibrate_every=null", "checkpoint.every=45"],
                ["algo=sac", "neuron=dn", "checkpoint.every=45"],
            )
        ),
        slow_case(["algo=dqn", "env=cartpole", "algo.common_mode=true", "checkpoint.every=45"]),
        slow_case(
            ["algo=ppo", "env=cartpole", "bn=vanilla", "checkpoint.every=45", "algo.n_steps=24"]
        ),
        slow_case(
            [
                *PENDULUM,
                "algo=sac",
                "critic=spiking",
                "surrogate=learnable",
                "loss=balance",
                "checkpoint.every=45",
            ]
        ),
        *(
            slow_case([*settings, "surrogate.scale_end=1.5", "checkpoint.every=45"])
            for settings in (
                [*PENDULUM, "algo=td3", "critic=spiking", "surrogate=atan"],
                [*PENDULUM, "algo=ppo", "critic=spiking", "loss=rate", "loss.side=above"],
                ["algo=dqn", "env=cartpole", "surrogate=fast_sigmoid", "loss=balance"],
            )
        ),
        slow_case([*PENDULUM, "algo=td3", "checkpoint.every=45", "env.n_envs=2"]),
        slow_case([*PENDULUM, "algo=ppo", "checkpoint.every=45", "env.n_envs=2", "algo.n_steps=8"]),
    ],
)
def test_a_crash(settings: list[str], tmp_path: Path, at_step: Stop, whole: Whole) -> None:
    crashed = folder_of(tmp_path / "crashed", *settings)
    at_step(78, crash)
    with pytest.raises(Crash):
        train(tmp_path / "crashed", *settings)
    assert crashed.checkpoint.exists()
    assert train(tmp_path / "crashed", *settings) == 0
    assert_same_run(crashed, whole(*settings))


@pytest.mark.slow
def test_a_crash_before_the_first_checkpoint_starts_afresh(
    tmp_path: Path, at_step: Stop, whole: Whole
) -> None:
    at_step(60, crash)
    with pytest.raises(Crash):
        train(tmp_path / "crashed")
    crashed = folder_of(tmp_path / "crashed")
    (crashed.path / "leftover").touch()
    (crashed.path / "model.zip").touch()
    assert train(tmp_path / "crashed") == 0
    assert (crashed.path / "leftover").exists()
    assert (crashed.path / ".lock").exists()
    assert_same_run(crashed, whole())


def refused(results_dir: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The line with which a run is refused, which changes nothing."""

    def contents() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in results_dir.rglob("*") if p.is_file()}

    capsys.readouterr()
    before = contents()
    assert train(results_dir, "checkpoint.every=50") == 2
    assert contents() == before
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_checkpoint_that_is_gone_is_missed(
    tmp_path: Path, at_step: Stop, capsys: pytest.CaptureFixture[str]
) -> None:
    at_step(78, crash)
    with pytest.raises(Crash):
        train(tmp_path, "checkpoint.every=50")
    folder = folder_of(tmp_path)
    shutil.rmtree(folder.checkpoint)
    assert f"{folder.checkpoint}: its checkpoint is missing" in refused(tmp_path, capsys)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("table", ["evaluations", "progress", "statistics_error"])
@pytest.mark.parametrize("damage", ["gone", "shorter", "changed", "bytes"])
def test_a_table_that_lost_rows_is_missed(
    table: str, damage: str, tmp_path: Path, at_step: Stop, capsys: pytest.CaptureFixture[str]
) -> None:
    at_step(78, crash)
    with pytest.raises(Crash):
        train(tmp_path, "checkpoint.every=50")
    file = folder_of(tmp_path).path / f"{table}.csv"
    lines = file.read_text().splitlines(keepends=True)
    if damage == "gone":
        file.unlink()
    elif damage == "shorter":
        file.write_text(lines[0])
    elif damage == "changed":
        file.write_text("".join([lines[0], lines[1].replace("0", "3"), *lines[2:]]))
    else:
        file.write_bytes(file.read_bytes()[:-40].replace(b"0", b"\xff"))
    assert f"{file}: damaged (it lacks " in refused(tmp_path, capsys)


@pytest.mark.slow
def test_a_tail_that_a_power_failure_left_is_cut(
    tmp_path: Path, at_step: Stop, whole: Whole
) -> None:
    at_step(78, crash)
    with pytest.raises(Crash):
        train(tmp_path, "checkpoint.every=50")
    folder = folder_of(tmp_path)
    for name in ("evaluations", "progress", "statistics_error"):
        with (folder.path / f"{name}.csv").open("ab") as file:
            file.write(b"\x00\x00\x00\n\x00\xff")
    assert train(tmp_path, "checkpoint.every=50") == 0
    assert_same_run(folder, whole("checkpoint.every=50"))


@pytest.mark.slow
def test_a_run_that_is_extended_and_killed_at_once_can_be_extended(
    tmp_path: Path, at_step: Stop, whole: Whole
) -> None:
    assert train(tmp_path, "total_steps=70") == 0
    at_step(78, crash)
    with pytest.raises(Crash):
        train(tmp_path)
    assert train(tmp_path) == 0
    # A row of progress at its earlier end is the run's own.
    assert rows_of(folder_of(tmp_path), "evaluations") == rows_of(whole(), "evaluations")
    assert_same(parameters(folder_of(tmp_path).model), parameters(whole().model))


def test_a_second_signal_stops_at_once(
    tmp_path: Path,
    at_step: Stop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("snnrl.experiment.signals.ONE_SIGNAL_S", 0.0)

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    at_step(60, twice)
    assert train(tmp_path) == 130
    assert "stopped at once" in capsys.readouterr().err.splitlines()[-1]
    assert not folder_of(tmp_path).checkpoint.exists()


def test_handlers_are_put_back(tmp_path: Path, at_step: Stop) -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    at_step(30, lambda: signal.raise_signal(signal.SIGTERM))
    train(tmp_path)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["algo=dqn", "env=cartpole"],
        ["algo=sac"],
        ["algo=ppo", "algo.n_steps=16", "env.n_envs=2"],
    ],
)
def test_a_signal_to_other_algorithms(
    settings: list[str], tmp_path: Path, at_step: Stop, whole: Whole
) -> None:
    stopped = folder_of(tmp_path / "stopped", *settings)
    at_step(66, lambda: signal.raise_signal(signal.SIGTERM))
    assert train(tmp_path / "stopped", *settings) == 143
    assert stopped.model.exists()
    assert train(tmp_path / "stopped", *settings) == 0
    assert_same_run(stopped, whole(*settings))


@pytest.mark.slow
def test_a_rollout_may_end_beyond_the_last_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["algo=ppo", "algo.n_steps=16", "total_steps=90"]
    assert train(tmp_path, *settings) == 0
    folder = folder_of(tmp_path, *settings)
    assert folder.finished_steps() == 96
    assert train(tmp_path, *settings) == 0
    assert "already done (96 steps)" in capsys.readouterr().out
    # Stopped just before it was marked as done.
    (folder.path / "DONE").unlink()
    assert train(tmp_path, *settings) == 0
    assert folder.finished_steps() == 96
    (folder.path / "DONE").unlink()
    assert train(tmp_path, *settings, "total_steps=80") == 2
    assert "is at step 96 already" in capsys.readouterr().err
