"""A NaN stops the run, with its name and step, and is never saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from snnrl.agents import TD3
from snnrl.errors import NonFiniteError
from snnrl.experiment.checkpoint.save import Checkpoints, Position, run_id, save_model
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.nn.norm import norm_layers
from tests.experiment.helpers import folder_of, steps_in, train


class Breaking(gymnasium.Env[np.ndarray, np.ndarray]):
    """Ten-step episodes in which a number breaks at one step of the process.

    :param what: ``observation``, ``reward``, ``last observation``
    """

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    breaks_at = 10**9

    def __init__(self, what: str = "observation", value: float = np.nan):
        self.what = what
        self.value = value
        self.total = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, Any]:
        super().reset(seed=seed)
        self.time = 0
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        self.total += 1
        observation = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        reward = 0.0
        last = self.time >= 10
        if self.total >= Breaking.breaks_at:
            if self.what == "reward":
                reward = self.value
            elif last or self.what == "observation":
                observation[1] = self.value
        return observation, reward, last, False, {}


def make_breaking(**options: Any) -> Breaking:
    return Breaking(**options)


@pytest.fixture(scope="module", autouse=True)
def _register() -> None:
    for what in ("observation", "reward", "last observation"):
        name = f"Breaking{what.title().replace(' ', '')}-v0"
        gymnasium.register(name, make_breaking, kwargs={"what": what})


# Evaluation environments and the trial take fewer steps than this each.
BREAKS_AT = 60


def assert_failed(folder: RunFolder, *words: str) -> None:
    text = (folder.path / "FAILED").read_text()
    assert text.startswith("Traceback")
    for word in words:
        assert word in text.splitlines()[-1]
    assert not (folder.path / "DONE").exists()


def assert_saved_is_finite(folder: RunFolder) -> None:
    for path in (folder.model, folder.best_model, *folder.checkpoint.glob("*/agent.zip")):
        if path.exists():
            save_model(folder.path / "again.zip", TD3.load(path))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("env", "name", "step"),
    [
        ("BreakingObservation-v0", "observation", "step 60"),
        ("BreakingReward-v0", "reward", "step 60"),
        ("BreakingLastObservation-v0", "observation", "step 60"),
    ],
)
def test_a_broken_environment(
    env: str,
    name: str,
    step: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = [f"env.id={env}", "checkpoint.every=30", "evaluation.every=40"]
    monkeypatch.setattr(Breaking, "breaks_at", BREAKS_AT)
    assert train(tmp_path, *settings) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    folder = folder_of(tmp_path, *settings)
    assert line.startswith(f"failed: {name} is not finite at {step}")
    assert str(folder.path / "FAILED") in line
    assert_failed(folder, name, step)
    assert_saved_is_finite(folder)

    # Asked for again, it goes on from the last checkpoint.
    monkeypatch.setattr(Breaking, "breaks_at", 10**9)
    assert train(tmp_path, *settings) == 0
    assert "resuming from step 30" in capsys.readouterr().out
    assert (folder.path / "DONE").exists()
    assert not (folder.path / "FAILED").exists()


def test_a_broken_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaking, "breaks_at", 5)
    assert train(tmp_path, "env.id=BreakingReward-v0") == 1
    folder = folder_of(tmp_path, "env.id=BreakingReward-v0")
    assert_failed(folder, "evaluation reward", "step 0")
    assert not folder.best_model.exists()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("broken", ["critic", "actor"])
@pytest.mark.parametrize(
    ("clock", "at_latest"), [("log_every=10", 50), ("checkpoint.every=15", 60)]
)
def test_broken_weights_stop_at_the_next_log_or_checkpoint(
    broken: str, clock: str, at_latest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_and_break(agent: TD3, gradient_steps: int, batch_size: int = 100) -> None:
        original(agent, gradient_steps, batch_size)
        if agent.num_timesteps == 45:
            network = agent.critic if broken == "critic" else agent.actor
            with torch.no_grad():
                next(network.parameters()).fill_(torch.nan)

    original = TD3.train
    monkeypatch.setattr(TD3, "train", train_and_break)
    assert train(tmp_path, clock, "evaluation.every=1000") == 1
    folder = folder_of(tmp_path, "evaluation.every=1000")
    text = (folder.path / "FAILED").read_text().splitlines()[-1]
    assert any(f"step {step}" in text for step in range(45, at_latest + 1))
    assert any(f"{part}" in text for part in ("policy.", "train/", "optimizer"))
    assert_saved_is_finite(folder)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("where", ["weights", "statistics", "optimiser", "targets"])
def test_nothing_broken_is_saved(where: str, tmp_path: Path) -> None:
    assert train(tmp_path) == 0
    folder = folder_of(tmp_path)
    agent = TD3.load(folder.model)
    tensors = {
        "weights": next(agent.critic.parameters()),
        "statistics": norm_layers(agent.actor)[0].moving_var,
        "optimiser": next(iter(agent.critic.optimizer.state.values()))["exp_avg"],
        "targets": next(agent.actor_target.parameters()),
    }
    with torch.no_grad():
        tensors[where].view(-1)[0] = torch.inf
    checkpoints = Checkpoints(folder.checkpoint, run_id(folder.cfg))
    saved = contents(folder.checkpoint), folder.best_model.read_bytes()
    with pytest.raises(NonFiniteError, match="is not finite at step 100"):
        checkpoints.save(agent, Position({}))
    with pytest.raises(NonFiniteError, match="is not finite at step 100"):
        save_model(folder.best_model, agent)
    assert (contents(folder.checkpoint), folder.best_model.read_bytes()) == saved


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_failure_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr("snnrl.experiment.callbacks.errors_of_statistics", fail)
    assert train(tmp_path) == 1
    folder = folder_of(tmp_path)
    assert "ZeroDivisionError: first line" in (folder.path / "FAILED").read_text()
    assert capsys.readouterr().err.splitlines()[-1].startswith("failed: ZeroDivisionError: first")
    assert steps_in(folder, "evaluations") == [0]
