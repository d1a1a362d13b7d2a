"""Options and fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        default=str(HERE / "data" / "golden"),
        help="folder of the recordings of published implementations",
    )


@pytest.fixture(autouse=True, scope="session")
def _one_thread_no_tracking() -> None:
    os.environ["WANDB_MODE"] = "disabled"
    torch.set_num_threads(1)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], dict[str, torch.Tensor]]:
    """Load one recording: name -> tensor (scalars too)."""
    folder = Path(request.config.getoption("--golden-dir"))

    def load(name: str) -> dict[str, torch.Tensor]:
        with np.load(folder / f"{name}.npz") as arrays:
            return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}

    return load
