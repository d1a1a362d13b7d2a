"""Episodes of converted agents: what sets thresholds, and on what actions are compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest

from snnrl.agents import TD3, convert
from snnrl.experiment import evaluation
from snnrl.experiment.conversion import COMPARED_STEPS, action_difference, measure_conversion
from snnrl.experiment.episode_starts import AdditiveStarts, EpisodeStarts
from snnrl.experiment.evaluation import Evaluator


def make(steps: int = 150) -> gymnasium.Env[Any, Any]:
    return gymnasium.make("Pendulum-v1", max_episode_steps=steps)


@pytest.fixture(scope="module")
def agent() -> TD3:
    return TD3("AnnPolicy", "Pendulum-v1", policy_kwargs=dict(net_arch=[24, 24]), seed=0)


@pytest.mark.parametrize("starts", [EpisodeStarts(3), AdditiveStarts(3)])
def test_recorded_observations_are_consecutive_and_episodes_restart(
    agent: TD3, starts: EpisodeStarts
) -> None:
    evaluator = Evaluator(lambda: make(20), 7, starts)
    shown = evaluator.record(agent, 50)
    assert shown.shape == (50, 3)
    with make(20) as env:
        first, _ = starts.begin(env, 0)
        played = [first]
        while len(played) < 50:
            action, _ = agent.predict(played[-1], deterministic=True)
            after, _, terminated, truncated, _ = env.step(action)
            played.append(env.reset()[0] if terminated or truncated else after)
    np.testing.assert_allclose(shown, played, rtol=1e-4, atol=1e-5)
    assert np.array_equal(evaluator.record(agent, 50), shown)
    # An evaluation's own limit ends episodes too, and global generators stay as they are.
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    short = Evaluator(lambda: make(20), 1, starts, max_steps=5).record(agent, 11)
    assert np.array_equal(np.random.get_state()[1], before)  # type: ignore[index]
    np.testing.assert_allclose(short[:5], shown[:5], rtol=1e-5)
    np.testing.assert_allclose(short[[5, 10]], shown[[20, 40]], rtol=1e-5)


def test_actions_are_compared_on_the_first_steps_of_every_episode(
    agent: TD3, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Evaluator(make, 2, EpisodeStarts(5))
    episodes = [each.observations for each in played.run(agent)]
    assert [len(each) for each in episodes] == [150, 150]
    # Of a long episode an evaluation keeps every second observation, or fewer.
    monkeypatch.setattr(evaluation, "KEPT_OBSERVATIONS", 40)
    found = list(measure_conversion(agent, played, 30, played, [4], [0.0, 1.0]))
    converted = convert(agent, played.record(agent, 30))
    first = [np.stack(rows) for rows in zip(*episodes, strict=True)][:COMPARED_STEPS]
    for row in found[1:]:
        assert row.time_steps == 4 and row.correction is not None
        one = replace(converted, time_steps=4, correction=row.correction)
        assert row.difference == action_difference(one, first, [150, 150])
    assert found[1].difference != found[2].difference
    assert found[0].above == found[1].above > 0


def test_an_episode_that_has_ended_counts_no_more(agent: TD3) -> None:
    shown = list(Evaluator(make, 2, EpisodeStarts(5)).record(agent, 12).reshape(6, 2, 3))
    one = convert(agent, np.concatenate(shown), time_steps=3)
    whole = action_difference(one, shown, [6, 6])
    assert action_difference(one, shown, [6, 2]) != whole
    alone = action_difference(one, [each[:1] for each in shown], [6])
    rest = action_difference(one, [each[1:] for each in shown[:2]], [2])
    assert action_difference(one, shown, [6, 2]) == pytest.approx((6 * alone + 2 * rest) / 8)
