"""The train command itself: sweeps, ways to call it, what it prints."""

from __future__ import annotations

import getpass
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

import snnrl
from snnrl.experiment.callbacks import Supervisor
from snnrl.experiment.progress import Progress
from snnrl.train import main
from tests.experiment.helpers import arguments, folder_of, slow_case, steps_in

TINY = ["total_steps=30", "evaluation.episodes=1", "evaluation.every=1000"]


@pytest.fixture(autouse=True)
def _command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr("snnrl.experiment.run.seconds_for", lambda *_: 1.0)


@pytest.mark.slow
def test_a_sweep_makes_a_folder_each_and_a_second_one_skips_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["-m", *arguments(tmp_path, *TINY, "bn=carebn,vanilla", "seed=range(2)")]
    assert main(command) == 0
    folders = [
        folder_of(tmp_path, *TINY, f"bn={bn}", f"seed={seed}").path
        for bn in ("carebn", "vanilla")
        for seed in range(2)
    ]
    assert len(set(folders)) == 4
    assert {path.parent for path in tmp_path.rglob("DONE")} == set(folders)
    overrides = yaml.safe_load((folders[3] / "overrides.yaml").read_text())
    assert {"bn=vanilla", "seed=1"} <= set(overrides)
    capsys.readouterr()
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.count("already done (30 steps)") == 4
    assert out.splitlines()[-1] == "4 runs: 4 skipped"


def test_a_sweep_says_how_many_runs_the_machine_carries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("snnrl.experiment.command.cores", lambda: 8)
    monkeypatch.setattr("snnrl.experiment.command._run_hydra", lambda *_: None)
    main(["-m", *arguments(tmp_path, *TINY, "threads=3", "seed=range(5)")])
    assert capsys.readouterr().out.splitlines()[0] == (
        "5 runs one after another; with threads=3 these 8 cores can run 2 at a time; "
        "hydra/launcher=joblib does so"
    )


@pytest.mark.slow
def test_every_seed_and_every_other_setting_of_a_sweep_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for swept, words in (
        (["seed=0,1,-1", "bn=carebn,vanilla"], "seed=-1"),
        (["algo.gamma=0.9,1.1", "seed=0,1"], "algo.gamma=1.1"),
    ):
        assert main(["-m", *arguments(tmp_path / "results", *TINY, *swept)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("twice", "names"),
    [
        (["seed=0,0"], "seed=0 and seed=0"),
        slow_case(["seed=3,1,3", "bn=none,vanilla"], "seed=3 bn=none and seed=3 bn=none"),
        (["total_steps=30000,60000"], "total_steps=30000 and total_steps=60000"),
        slow_case(["log_every=10,20"], "log_every=10 and log_every=20"),
        slow_case(["tracking=none,wandb"], "tracking=none and tracking=wandb"),
        (["experiment_name=a,b", "seed=0,1"], "experiment_name=a and experiment_name=b"),
        # Composed, they are one, whatever the texts say.
        (["actor=ann", "neuron=lif,clif"], "neuron=lif and neuron=clif"),
        slow_case(["actor=spiking,ann", "neuron=lif,clif"], "neuron=lif and neuron=clif"),
        (["actor=ann", "surrogate=tanh,sigmoid", "seed=0,1"], "surrogate=tanh and surrogate=sig"),
        slow_case(["actor=ann", "kernel=naive,auto"], "kernel=naive and kernel=auto"),
        (["algo.gamma=0.99,0.9,0.990"], "algo.gamma=0.99 and algo.gamma=0.99 "),
        slow_case(["env=hopper", "env.id=Hopper-v4,'Hopper-v4'"], "env.id=Hopper-v4 and env.id="),
        slow_case(["seed=1,1.0"], "seed=1 and seed=1"),
        (["++seed=1,1"], "++seed=1 and ++seed=1"),
    ],
)
def test_runs_of_a_sweep_that_would_be_one_are_refused(
    twice: list[str], names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", f"results_dir={tmp_path}", *twice]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: two runs of the sweep share a run folder: {names}")
    assert re.search(r" \(\w+-\w+-\w+.*-[0-9a-f]{8}/seed-\d\); expected runs that differ", line)
    assert list(tmp_path.iterdir()) == []


def test_two_ways_to_write_one_place_are_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for other in (tmp_path / "b", tmp_path / "a" / ".." / "a"):
        assert main(["-m", f"results_dir={tmp_path / 'a'},{other}"]) == 2
        assert f"results_dir={other} (" in capsys.readouterr().err


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("several", "runs"),
    [
        (["actor=ann", "critic=spiking", "neuron=lif,clif"], 2),
        (["neuron=lif,clif", "seed=0,1"], 4),
        (["seed=0,1", "actor=spiking,ann", "algo.gamma=0.9,0.8"], 8),
        (["results_dir=a,b"], 2),
        (["env=hopper,ant", "++seed=1,2"], 4),
    ],
)
def test_runs_of_a_sweep_that_differ_are_not(
    several: list[str], runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    monkeypatch.setattr("snnrl.experiment.command._sweep", lambda *given: begun.append(given[3]))
    assert main(["-m", *several]) == 0
    assert begun == [runs]


@pytest.mark.slow
def test_integral_floats_in_a_sweep(tmp_path: Path) -> None:
    command = ["--multirun", *arguments(tmp_path, *TINY, "total_steps=3e1", "seed=0.0,1")]
    assert main(command) == 0
    assert len(list(tmp_path.rglob("DONE"))) == 2


def test_a_sweep_does_all_it_can_and_says_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = Supervisor._evaluate

    def evaluate(supervisor: Supervisor, step: int) -> float:
        if supervisor.folder.cfg.seed in (0, 2):
            raise ZeroDivisionError(f"seed {supervisor.folder.cfg.seed}")
        return original(supervisor, step)

    monkeypatch.setattr(Supervisor, "_evaluate", evaluate)
    assert main(["-m", *arguments(tmp_path, *TINY, "seed=0,1,2")]) == 1
    out, err = capsys.readouterr()
    *_, first, second, last = err.splitlines()
    assert first.startswith("failed: seed=0: ZeroDivisionError: seed 0 (")
    assert second.startswith("failed: seed=2: ZeroDivisionError: seed 2 (")
    assert second.endswith("seed-2/FAILED)")
    assert last == "failed: not every run of the sweep is done; the lines above say why"
    assert out.splitlines()[-1] == "3 runs: 1 done, 2 failed"
    # And each when it happened.
    assert sum("ZeroDivisionError" in line for line in err.splitlines()) == 4
    assert "Traceback" not in err
    assert [path.parent.name for path in tmp_path.rglob("DONE")] == ["seed-1"]


def signal_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGTERM in the evaluation at a step."""

    def interrupt(progress: Progress, timesteps: int, *_: float) -> None:
        if timesteps == step:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Progress, "evaluated", interrupt)


def test_a_signal_ends_the_whole_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signal_at(20, monkeypatch)
    settings = [*TINY, "evaluation.every=10", "seed=0,1,2"]
    assert main(["-m", *arguments(tmp_path, *settings)]) == 143
    out, err = capsys.readouterr()
    *_, interrupted, last = err.splitlines()
    assert interrupted.startswith("interrupted: ")
    assert "stopped at step 20 and saved" in interrupted
    assert last == "stopped; the same command resumes it"
    assert out.splitlines()[-1] == "3 runs: 1 interrupted, 2 not started"
    assert [path.name for path in tmp_path.glob("*/*/seed-*")] == ["seed-0"]


@pytest.mark.slow
def test_a_signal_in_the_last_evaluation_of_a_run_lets_it_finish_and_ends_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signal_at(30, monkeypatch)
    assert main(["-m", *arguments(tmp_path, *TINY, "seed=0,1")]) == 143
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "2 runs: 1 done, 1 not started"
    assert [path.parent.name for path in tmp_path.rglob("DONE")] == ["seed-0"]
    assert [path.name for path in tmp_path.glob("*/*/seed-*")] == ["seed-0"]

    # The last run is the end of the sweep anyway.
    assert main(["-m", *arguments(tmp_path, *TINY, "seed=0,1")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 runs: 1 done, 1 skipped"


@pytest.mark.slow
def test_a_second_signal_ends_the_sweep_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(progress: Progress, timesteps: int, *_: float) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("snnrl.experiment.signals.ONE_SIGNAL_S", 0.0)
    monkeypatch.setattr(Progress, "evaluated", interrupt)
    settings = [*TINY, "evaluation.every=10", "seed=0,1"]
    monkeypatch.setattr(Supervisor, "_checkpoint", interrupt)
    assert main(["-m", *arguments(tmp_path, *settings)]) == 130
    err = capsys.readouterr().err
    *_, interrupted, last = err.splitlines()
    assert interrupted.startswith("interrupted: ")
    assert "stopped at once" in interrupted
    assert "stopped at once" in last
    assert [path.name for path in tmp_path.glob("*/*/seed-*")] == ["seed-0"]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("asked", [("--cfg", "job"), ("-c", "job"), ("--cfg=job",)])
def test_show_the_configuration(
    asked: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(tmp_path / "results"), *asked]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["algo"]["batch_size"] == 8
    assert shown["bn"]["name"] == "carebn"
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 0
    out, err = capsys.readouterr()
    assert "algo.policy_delay=2" in out
    assert err == ""


def test_it_says_how_long_it_will_take_and_where_the_run_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path, *TINY)) == 0
    out, err = capsys.readouterr()
    folder = folder_of(tmp_path, *TINY)
    assert out.splitlines()[1].startswith("30 steps will take about ")
    assert "kernel: naive; threads: 1; device: cpu" in out
    assert f"run folder: {folder.path}" in out
    assert f"curve:      {folder.path / 'curve.png'}" in out
    assert [line.split(":")[0].split()[0] for line in err.splitlines()] == ["0", "30"]
    assert steps_in(folder, "evaluations") == [0, 30]


@pytest.mark.slow
def test_nothing_is_left_in_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # it is timed too
    monkeypatch.setattr("sys.argv", ["train"])
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    for steps in (30, 60):
        assert main(arguments(tmp_path / "results", *TINY[1:], f"total_steps={steps}")) == 0
    # torch's cache stays in one place and is found again.
    assert {path.name for path in temporary.iterdir()} <= {f"torchinductor_{getpass.getuser()}"}


def start(tmp_path: Path, *settings: str) -> subprocess.Popen[str]:
    """The command as a user calls it, from a folder of his own."""
    checkout = Path(snnrl.__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, "-m", "snnrl.train", *arguments(Path("results"), *settings)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(checkout), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_from_another_folder(tmp_path: Path) -> None:
    process = start(tmp_path, *TINY)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    (done,) = tmp_path.rglob("DONE")
    assert str(done.parent.relative_to(tmp_path)) in out


@pytest.mark.slow
@pytest.mark.parametrize("streams", [["stdout"], ["stderr"], ["stdout", "stderr"]])
def test_readers_that_go_away(streams: list[str], tmp_path: Path) -> None:
    process = start(tmp_path, *TINY, "evaluation.every=10")
    for name in streams:
        getattr(process, name).close()
    for name in {"stdout", "stderr"} - set(streams):
        getattr(process, name).read()
    assert process.wait(timeout=100) == 0
    assert len(list(tmp_path.rglob("DONE"))) == 1


@pytest.mark.slow
def test_a_mistake_in_a_process_of_its_own(tmp_path: Path) -> None:
    process = start(tmp_path, "bn=carbn")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 2
    assert len(err.splitlines()) == 1
    assert "did you mean 'carebn'?" in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_signal_from_outside(tmp_path: Path) -> None:
    process = start(tmp_path, "total_steps=1000000")
    assert process.stderr
    assert "0 of 1,000,000 steps" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 143
    assert "saved; the same command resumes it" in err.splitlines()[-1]
    assert list(tmp_path.rglob("checkpoint/*/state.pt"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGHUP, 129), (signal.SIGUSR1, 138), (signal.SIGINT, 130)]
)
def test_a_signal_to_all_processes_of_a_run(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    process = start(tmp_path, "total_steps=1000000", "env.n_envs=2")
    assert process.stderr
    while "of 1,000,000 steps" not in process.stderr.readline():
        pass
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=100)
    assert process.returncode == status
    assert "saved; the same command resumes it" in err.splitlines()[-1]
    assert list(tmp_path.rglob("checkpoint/*/state.pt"))


def start_side_by_side(tmp_path: Path) -> subprocess.Popen[str]:
    settings = ["algo=ppo", "env=pendulum", "env.n_envs=2", "evaluation.episodes=1"]
    process = start(tmp_path, *settings, "total_steps=1000000")
    assert process.stderr
    assert "0 of 1,000,000 steps" in process.stderr.readline()
    return process


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_reaches_the_run_and_not_the_processes_of_its_environments(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    process = start_side_by_side(tmp_path)
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=100)
    assert process.returncode == status
    assert "saved; the same command resumes it" in err.splitlines()[-1]
    assert list(tmp_path.rglob("checkpoint/*/state.pt"))


@pytest.mark.slow
def test_a_process_of_an_environment_that_dies(tmp_path: Path) -> None:
    process = start_side_by_side(tmp_path)
    os.kill(leaders_below(process.pid)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith("failed: the process of an environment ended")
    assert list(tmp_path.rglob("FAILED"))


def leaders_below(pid: int) -> list[int]:
    """Processes that descend from one and lead a group of their own."""
    table = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state = stat.read_text().rpartition(")")[2].split()
            table[int(stat.parent.name)] = (int(state[1]), int(state[2]))
    found, ancestors = [], {pid}
    while new := [p for p, (parent, _) in table.items() if parent in ancestors and p not in found]:
        found += new
        ancestors |= set(new)
    return [p for p in found if table[p][1] == p]
