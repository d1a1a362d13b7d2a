"""The number of threads: chosen, said, and without effect on what a run learns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from snnrl.experiment import run, threads
from snnrl.experiment.config.choices import spiking_parts
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import settings_hash
from snnrl.experiment.config.validate import kernel_for
from snnrl.experiment.reproduction.provenance import collect, differences
from snnrl.ops import native
from tests.experiment.helpers import (
    assert_same_tables_and_models,
    folder_of,
    slow_case,
    train,
)

# Minibatches and layers of several blocks.
WIDE = (
    "kernel=native",
    "actor.hidden=[70,300]",
    "algo.batch_size=300",
    "critic.hidden=[150,300]",
    "total_steps=60",
    "evaluation.every=30",
    "log_every=10",
)
SPIKING = ("critic=spiking", "critic.time_steps=2")
DQN = ("algo=dqn", "env=cartpole", "algo.replacement=true")
PPO = ("algo=ppo", "algo.n_steps=64", "algo.batch_size=32", "total_steps=128")


@pytest.fixture(autouse=True)
def one_thread_afterwards() -> Iterator[None]:
    yield
    native.use_threads(1)
    torch.set_num_threads(1)


def settings_of(*own: str) -> tuple[str, ...]:
    by_key = {text.partition("=")[0]: text for text in (*WIDE, *own)}
    if "algo=dqn" in own:
        del by_key["critic.hidden"]
    return tuple(by_key.values())


@pytest.mark.parametrize(
    ("own", "numbers"),
    [
        (["algo=td3"], (2,)),
        slow_case(["algo=td3"], (3, 4)),
        slow_case(["algo=td3", "neuron=clif", "bn=bntt"], (2, 3, 4)),
        slow_case(["algo=td3", *SPIKING], (2, 3, 4)),
        slow_case(["algo=td3", "target=proxy", "target.updates=1"], (2, 3, 4)),
        slow_case(["algo=ddpg"], (2, 3, 4)),
        slow_case(["algo=sac"], (2, 3, 4)),
        slow_case(DQN, (2, 3, 4)),
        slow_case(PPO, (2, 3, 4)),
        slow_case([*PPO, *SPIKING], (2, 3, 4)),
    ],
)
def test_a_whole_run_is_the_same_bits(
    own: list[str], numbers: tuple[int, ...], tmp_path: Path
) -> None:
    settings = settings_of(*own)
    assert train(tmp_path / "1", *settings, "threads=1") == 0
    one = folder_of(tmp_path / "1", *settings)
    for number in numbers:
        assert train(tmp_path / str(number), *settings, f"threads={number}") == 0
        other = folder_of(tmp_path / str(number), *settings)
        assert other.last_start()["threads"] == number
        assert_same_tables_and_models(one, other)


@pytest.mark.parametrize(
    "own", [["algo=td3"], slow_case(["algo=sac"]), slow_case(DQN), slow_case(PPO)]
)
def test_a_run_goes_on_with_another_number(own: list[str], tmp_path: Path) -> None:
    settings = settings_of(*own)
    whole = next(text for text in settings if text.startswith("total_steps="))
    part = f"total_steps={int(whole.partition('=')[2]) // 2}"
    assert train(tmp_path / "whole", *settings, "threads=1") == 0
    assert train(tmp_path / "parts", *settings, part, "threads=1") == 0
    assert train(tmp_path / "parts", *settings, "threads=3") == 0
    parts = folder_of(tmp_path / "parts", *settings)
    assert parts.last_start()["threads"] == 3
    assert_same_tables_and_models(folder_of(tmp_path / "whole", *settings), parts)


def test_another_kernel_goes_on_with_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its sums may round differently."""
    assert train(tmp_path, "kernel=naive", "total_steps=30", "threads=1") == 0
    capsys.readouterr()
    assert train(tmp_path, "kernel=naive", "total_steps=40", "threads=2") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: threads=2: ") and error.endswith("; expected threads=1\n")
    assert train(tmp_path, "kernel=naive", "total_steps=40") == 0


@pytest.mark.parametrize(
    ("settings", "given", "expected"),
    [
        (["kernel=native"], None, (8, 1)),
        (["kernel=native"], "3", (3, 1)),
        (["kernel=native"], "64", (8, 1)),
        (["kernel=native"], "many", (8, 1)),
        (["kernel=native"], "0", (8, 1)),
        (["kernel=native"], "4,2", (4, 1)),
        (["kernel=native", "threads=2"], "3", (2, 1)),
        (["kernel=naive"], None, (1, 1)),
        (["kernel=naive", "threads=2"], None, (2, 2)),
        (["actor=ann"], None, (1, 1)),
        (["actor=ann", "threads=2"], None, (2, 2)),
    ],
)
def test_default(
    settings: list[str],
    given: str | None,
    expected: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a machine with eight cores; torch's own is the second."""
    monkeypatch.setattr(threads, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    cfg = compose_config(settings)
    kernel = kernel_for(cfg) if spiking_parts(cfg) else "naive"
    number = threads.use_threads(cfg, kernel)
    assert (number, torch.get_num_threads()) == expected


def test_the_number_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (run, threads):
        monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    short = ("kernel=native", "total_steps=30")
    assert train(tmp_path / "usual", *short) == 0
    out = capsys.readouterr().out
    assert "kernel: native; threads: 2; device: cpu" in out and out.count("threads") == 1
    assert train(tmp_path / "more", *short, "threads=3") == 0
    assert "threads=3: there are 2 cores, more threads only wait\n" in capsys.readouterr().out


@pytest.mark.parametrize("kernel", ["auto", "native", "naive"])
def test_the_number_is_no_setting(kernel: str) -> None:
    """Recorded runs have one, and keep their hash."""
    numbers = ("threads=null", "threads=1", "threads=4")
    hashes = {settings_hash(compose_config([f"kernel={kernel}", text])) for text in numbers}
    assert len(hashes) == 1


def test_reproducing_does_not_count_it() -> None:
    native_then, naive_then = (collect(kernel, 2, seed=0) for kernel in ("native", "naive"))
    assert not list(differences(native_then, {**native_then, "threads": 1}))
    (found,) = differences(naive_then, {**naive_then, "threads": 1})
    assert found.what == "threads"


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 8), ("200000 100000", 2), ("1600000 100000", 8), ("5000 100000", 1), ("", 8)],
)
def test_what_a_container_may_use_counts(
    quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    assert threads.cores() == 8
    (tmp_path / "cpu.max").write_text(quota)
    assert threads.cores() == expected


def test_a_large_machine_has_no_more_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 64)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads.use_threads(compose_config([]), "native") == threads.MOST
