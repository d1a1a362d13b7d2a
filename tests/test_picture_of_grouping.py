from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from scripts import picture_of_grouping
from scripts.picture_of_grouping import draw, smooth

TOP = Path(__file__).parent.parent


def test_the_picture_is_drawn_from_the_quick_start(tmp_path: Path) -> None:
    draw(TOP / "results" / "quickstart", tmp_path / "images" / "picture.png")
    assert (tmp_path / "images" / "picture.png").read_bytes()[1:4] == b"PNG"
    assert (TOP / "docs" / "images" / "grouping.png").exists()


def test_smoothing_starts_unbiased_and_lags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_of_grouping, "SMOOTHING", 0.5)
    smoothed = smooth(pd.Series([4.0, 4.0, 10.0], index=[0, 1, 2]))
    assert list(smoothed) == pytest.approx([4.0, 4.0, 4.0 + 6.0 * 0.5 / 0.875])
