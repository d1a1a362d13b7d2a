"""A population code that cannot tell observations apart is said, once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from omegaconf import OmegaConf

from snnrl.experiment.callbacks import Supervisor
from tests.experiment.helpers import folder_of, rows_of, train


class Far(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Multiplies what is observed."""

    def __init__(self, env: gymnasium.Env[Any, Any], factor: float):
        super().__init__(env)
        space: Any = env.observation_space
        self.factor = factor
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, space.shape, np.float32)

    def observation(self, observation: Any) -> Any:
        return (observation * self.factor).astype(np.float32)


def of_an_agent(
    normalization: Any, lines: list[str], encoder: str = "population", **settings: Any
) -> Any:
    cfg = SimpleNamespace(encoder=OmegaConf.create({"name": encoder, **settings}))
    return SimpleNamespace(
        folder=SimpleNamespace(cfg=cfg),
        saturated=False,
        progress=SimpleNamespace(say=lines.append),
        model=SimpleNamespace(get_vec_normalize_env=lambda: normalization),
    )


@pytest.mark.parametrize(
    ("shares", "said"), [([0.51], 1), ([0.9, 0.2], 1), ([0.5], 0), ([], 0), ([0.1, 0.7, 0.9], 1)]
)
def test_it_is_said_once(shares: list[float], said: int) -> None:
    lines: list[str] = []
    values = {f"saturation/{i}": share for i, share in enumerate(shares)}
    supervisor = of_an_agent(None, lines)
    for step in range(3):
        Supervisor._warn_of_saturation(supervisor, step, {"evaluation/return": 99.0, **values})
    assert len(lines) == said
    assert all(line.startswith("encoder=population: ") for line in lines)
    assert all(line.endswith("of magnitude about 1, or encoder=direct") for line in lines)


@pytest.mark.parametrize(
    ("settings", "fitting"),
    [
        ({}, "of magnitude about 1"),
        ({"squash": True, "mean_range": 3.0}, "of magnitude about 1"),
        ({"squash": False, "mean_range": 3.0}, "within the receptive fields' range"),
    ],
)
def test_it_says_what_fits(settings: dict[str, Any], fitting: str) -> None:
    lines: list[str] = []
    Supervisor._warn_of_saturation(of_an_agent(None, lines, **settings), 0, {"saturation/x": 1})
    assert [line.partition("expected observations ")[2] for line in lines] == [
        f"{fitting}, or encoder=direct"
    ]


@pytest.mark.parametrize("encoder", ["population", "poisson", "latency"])
def test_it_names_the_encoder(encoder: str) -> None:
    lines: list[str] = []
    Supervisor._warn_of_saturation(of_an_agent(None, lines, encoder), 0, {"saturation/encoder": 1})
    assert [line.partition(":")[0] for line in lines] == [f"encoder={encoder}"]


@pytest.mark.parametrize(
    ("normalization", "steps", "said"),
    [
        (None, [0], 1),
        (SimpleNamespace(norm_obs=False), [0], 1),
        (SimpleNamespace(norm_obs=True), [0], 0),
        (SimpleNamespace(norm_obs=True), [0, 2048, 4096], 1),
    ],
)
def test_normalised_observations_are_not_judged_before_there_are_statistics(
    normalization: Any, steps: list[int], said: int
) -> None:
    lines: list[str] = []
    supervisor = of_an_agent(normalization, lines)
    for step in steps:
        Supervisor._warn_of_saturation(supervisor, step, {"saturation/encoder": 0.94})
    assert len(lines) == said


@pytest.mark.slow
def test_a_run_that_normalises_raises_no_false_alarm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["env=pendulum", "algo=ppo", "algo.n_steps=48"]
    assert train(tmp_path, *settings) == 0
    assert "encoder=population: " not in capsys.readouterr().err
    first, *later = [
        float(cell)
        for row in rows_of(folder_of(tmp_path, *settings), "progress")
        if (cell := row["saturation/encoder"])
    ]
    assert first > 0.5 > max(later)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.5, 1000.0])
def test_a_run_says_it(factor: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    far = f"{{name: '{__name__}:Far', factor: {factor}}}"
    settings = ["env=pendulum", f"env.wrappers=[{far}]"]
    assert train(tmp_path, *settings) == 0
    error = capsys.readouterr().err
    assert error.count("encoder=population: ") == (factor > 1)
    column = [
        row["saturation/encoder"] for row in rows_of(folder_of(tmp_path, *settings), "progress")
    ]
    assert [float(cell) > 0.5 for cell in column if cell] == [factor > 1] * 3
