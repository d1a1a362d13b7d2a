"""A population code that cannot tell observations apart is said, once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

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


@pytest.mark.parametrize(
    ("shares", "said"), [([0.51], 1), ([0.9, 0.2], 1), ([0.5], 0), ([], 0), ([0.1, 0.7, 0.9], 1)]
)
def test_it_is_said_once(shares: list[float], said: int) -> None:
    lines: list[str] = []
    supervisor: Any = SimpleNamespace(saturated=False, progress=SimpleNamespace(say=lines.append))
    values = {f"saturation/{i}": share for i, share in enumerate(shares)}
    for _ in range(3):
        Supervisor._warn_of_saturation(supervisor, {"evaluation/return": 99.0, **values})
    assert len(lines) == said
    assert all(line.startswith("encoder=population: ") for line in lines)
    assert all(line.endswith("as large as 1, or encoder=direct") for line in lines)


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
