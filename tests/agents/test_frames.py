"""Agents and classifiers whose observations have a time axis."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from snnrl import train
from snnrl.agents import Classifier
from snnrl.data import DataSet, DataStream, Split
from snnrl.errors import UserError
from snnrl.experiment.config import check_spaces
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.overrides import check_overrides
from tests.agents.helpers import small
from tests.agents.ppo_helpers import small_ppo
from tests.envs import Follow, Match, MatchImage

T = 3
CONV = dict(channels=[4], kernels=[3], strides=[2])
FRAMES = dict(encoder="frames", time_steps=T, conv=CONV)


class MatchFrame(Match):
    """Show frames of 6 x 6 pixels of which one is bright, and reward the choice of its number."""

    def __init__(self, steps: int = 8):
        super().__init__(T, steps)
        self.observation_space = spaces.Box(0, 255, (T, 1, 6, 6), np.uint8)

    def _observe(self) -> np.ndarray:
        self.right = int(self.np_random.integers(T))
        self.observation = np.zeros((T, 1, 6, 6), np.uint8)
        self.observation[self.right] = 3
        return self.observation


class SteerFrames(Follow):
    """Frames, and actions that are numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(0, 1, (T, 1, 6, 6), np.float32)


def agent_of(algorithm: str, **policy: Any) -> Any:
    policy = FRAMES | policy
    if algorithm == "DQN":
        return small("dqn", MatchFrame(), policy_kwargs=policy)
    return small_ppo(
        MatchFrame(),
        policy_kwargs=dict(critic=dict(name="spiking", bn="carebn", time_steps=T)) | policy,
    )


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
@pytest.mark.parametrize("conv", [CONV, None])
def test_an_agent_learns(algorithm: str, conv: Any) -> None:
    agent = agent_of(algorithm, conv=conv)
    before = copy.deepcopy({name: part.state_dict() for name, part in agent.parts().items()})
    agent.learn(48)
    for name, part in agent.parts().items():
        weights = [key for key in part.state_dict() if key.endswith("weight")]
        assert any(not torch.equal(part.state_dict()[key], before[name][key]) for key in weights)
    actions, _ = agent.predict(np.zeros((2, T, 1, 6, 6), np.uint8), deterministic=True)
    assert actions.shape == (2,)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: agent_of("DQN", time_steps=4), r"^time_steps=4: .*an input has 3; expected 3$"),
        (
            lambda: agent_of("PPO", critic=dict(name="spiking", time_steps=4)),
            r"^time_steps=4: .*an input has 3; expected 3$",
        ),
        (lambda: agent_of("PPO", critic="ann"), r"^conv: takes images \(C, H, W\), not "),
        (
            lambda: small(
                "td3-spiking", SteerFrames(), policy_kwargs=dict(encoder="frames", time_steps=T)
            ),
            r"^SpikingPolicy: images \(3, 1, 6, 6\) are for DQN and PPO; ",
        ),
        (
            lambda: small("td3-spiking", policy_kwargs=dict(encoder="frames")),
            r"^encoder=frames: takes frames \(T, C, H, W\), not an input of shape \(2,\); ",
        ),
        (
            lambda: small("dqn", MatchImage(), policy_kwargs=FRAMES),
            r"^encoder=frames: takes frames .*\(1, 8, 8\); expected ",
        ),
    ],
)
def test_what_has_not_the_form_is_refused(make: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        make()
    assert "\n" not in str(refused.value)


def moving(n: int, generator: np.random.Generator) -> Split:
    """A bright column that moves to the left or to the right and round, from anywhere: neither one
    frame nor the sum of all tells which."""
    labels = generator.integers(2, size=n)
    inputs = np.zeros((n, T, 1, 4, 4), np.uint8)
    starts = generator.integers(T, size=n)
    for frames, label, start in zip(inputs, labels, starts, strict=True):
        for t in range(T):
            frames[t, 0, :, (start + t if label else start - t) % T] = 4
    return Split(inputs, labels)


def test_a_classifier_of_what_order_alone_tells() -> None:
    split = moving(256, np.random.default_rng(0))
    stream = DataStream(DataSet("moving", 2, split, split), 32, np.random.default_rng(0))
    policy = dict(encoder="frames", time_steps=T, bn="vanilla", net_arch=[32, 32], kernel="native")
    agent = Classifier(
        "SpikingPolicy", stream, learning_rate=1e-2, policy_kwargs=policy, seed=0, device="cpu"
    )
    agent.learn(20 * 256)
    guesses, _ = agent.predict(split.inputs, deterministic=True)
    assert (guesses == split.labels).mean() > 0.95
    # The same pixels in the other order are the other class.
    turned, _ = agent.predict(split.inputs[:, ::-1].copy(), deterministic=True)
    assert (turned != split.labels).mean() > 0.95


def test_a_classifier_of_frames_wants_an_encoder_that_takes_them() -> None:
    split = moving(32, np.random.default_rng(0))
    stream = DataStream(DataSet("moving", 2, split, split), 8, np.random.default_rng(0))
    with pytest.raises(UserError, match=r"^encoder=direct: .*; expected encoder=frames$"):
        Classifier("SpikingPolicy", stream, policy_kwargs=dict(encoder="direct", time_steps=T))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("env", ["cartpole", "minatar/breakout"])
def test_from_the_shell(env: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if env.startswith("minatar"):
        pytest.importorskip("minatar")
    given = [f"env={env}", "algo=dqn", "encoder=frames", f"results_dir={tmp_path}/results"]
    assert train.main(given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: encoder=frames: takes frames (T, C, H, W), not an input of ")
    assert not (tmp_path / "results").exists()


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["algo=dqn", "conv=minatar"], None),
        (["algo=dqn"], None),
        (["algo=ppo", "critic=spiking", "critic.time_steps=3", "conv=minatar"], None),
        (
            ["algo=dqn", "algo.common_mode=true"],
            r"^algo.common_mode=true: reads vectors and images",
        ),
        (["algo=ppo", "conv=minatar"], r"^conv=minatar: the ordinary critic convolves images"),
        (["algo=dqn", "conv=nature"], r"^conv.kernels=\[8, 4, 3\]: layer 1 sees images of 6 x 6"),
        (["algo=dqn", "actor.time_steps=2"], r"^time_steps=2: .*expected 3$"),
        (["algo=dqn", "encoder=direct"], r"^env.id=.* observes .*; expected one-dimensional Box"),
    ],
)
def test_an_environment_of_frames(
    given: list[str], words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_spaces, "make_env", lambda **arguments: MatchFrame())
    base = ["env=cartpole", "encoder=frames", "actor.time_steps=3"]
    named = {text.partition("=")[0]: text for text in (*base, *given)}
    cfg = compose_config(check_overrides(list(named.values())))
    if words is None:
        check_spaces.check_environment(cfg)
        return
    with pytest.raises(UserError, match=words):
        check_spaces.check_environment(cfg)
