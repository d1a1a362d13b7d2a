"""Our agents in rl_zoo3, as docs/rl-zoo3.md says: train, continue, optimise, enjoy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("rl_zoo3")

HYPERPARAMETERS = """
Pendulum-v1:
  n_timesteps: 120
  policy: SpikingPolicy
  learning_starts: 20
  batch_size: 8
  buffer_size: 1000
  policy_kwargs: "dict(net_arch=[8], time_steps=2, kernel='naive', bn='carebn')"
"""


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    from rl_zoo3 import ALGOS
    from rl_zoo3.hyperparams_opt import HYPERPARAMS_SAMPLER

    from snnrl.agents import TD3

    def sample(*given: Any) -> dict[str, Any]:
        parameters = HYPERPARAMS_SAMPLER["td3"](*given)
        parameters["policy_kwargs"] |= {"bn": "vanilla", "time_steps": 2, "kernel": "naive"}
        return parameters

    ALGOS["spiking_td3"] = TD3
    HYPERPARAMS_SAMPLER["spiking_td3"] = sample
    yield
    del ALGOS["spiking_td3"], HYPERPARAMS_SAMPLER["spiking_td3"]


def zoo(monkeypatch: pytest.MonkeyPatch, command: str, *arguments: str) -> None:
    from rl_zoo3 import enjoy, train

    common = ["--algo", "spiking_td3", "--env", "Pendulum-v1", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [command, *common, *arguments])
    (train.train if command == "train" else enjoy.enjoy)()


def test_train_continue_and_enjoy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from snnrl.agents import TD3

    monkeypatch.chdir(tmp_path)
    (tmp_path / "spiking.yml").write_text(HYPERPARAMETERS)
    given = ["-conf", "spiking.yml", "-f", "logs", "--eval-freq", "60", "--eval-episodes", "1"]
    zoo(monkeypatch, "train", *given, "--seed", "1")
    saved = tmp_path / "logs" / "spiking_td3" / "Pendulum-v1_1" / "Pendulum-v1.zip"
    agent = TD3.load(saved)
    assert agent.num_timesteps == 120
    assert agent.actor.norm.rule == "confidence"
    zoo(monkeypatch, "train", *given, "-i", str(saved), "-n", "40")
    second = tmp_path / "logs" / "spiking_td3" / "Pendulum-v1_2" / "Pendulum-v1.zip"
    moved = [
        not torch.equal(one, other)
        for one, other in zip(
            agent.actor.parameters(), TD3.load(second).actor.parameters(), strict=True
        )
    ]
    assert any(moved)
    zoo(monkeypatch, "enjoy", "-f", "logs", "-n", "20", "--no-render", "--exp-id", "2")


def test_optimise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spiking.yml").write_text(HYPERPARAMETERS)
    given = ["-conf", "spiking.yml", "-f", "logs", "-n", "150", "-optimize", "--n-trials", "1"]
    given += ["--n-startup-trials", "1", "--n-evaluations", "1", "--eval-episodes", "1"]
    zoo(monkeypatch, "train", *given, "--n-jobs", "1", "--no-optim-plots")
    (report,) = (tmp_path / "logs" / "spiking_td3").glob("report_*.csv")
    assert "COMPLETE" in report.read_text()


def test_a_stock_algorithm_of_the_zoo_refuses_our_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rl_zoo3 import train

    from snnrl.errors import UserError

    monkeypatch.chdir(tmp_path)
    settings = HYPERPARAMETERS.replace("policy: Spiking", "policy: snnrl.agents.td3.Spiking")
    (tmp_path / "spiking.yml").write_text(settings)
    arguments = ["train", "--algo", "td3", "--env", "Pendulum-v1", "-conf", "spiking.yml"]
    monkeypatch.setattr(sys, "argv", [*arguments, "-f", "logs", "--device", "cpu"])
    with pytest.raises(UserError, match=r"trains in snnrl\.agents\.TD3 or DDPG only"):
        train.train()
