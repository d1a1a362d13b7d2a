"""How far a run is."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnrl.errors import UserError
from snnrl.run_format.last_step import last_logged_step


def write(folder: Path, text: str) -> Path:
    (folder / "progress.csv").write_text(text)
    return folder


def test_the_last_whole_row_counts(tmp_path: Path) -> None:
    assert last_logged_step(tmp_path) == 0
    assert last_logged_step(write(tmp_path, "")) == 0
    assert last_logged_step(write(tmp_path, "timesteps,x\n")) == 0
    assert last_logged_step(write(tmp_path, "timesteps,x\n10,1\n2000,\n30")) == 2000


@pytest.mark.parametrize(
    "text",
    ["timesteps,x\nten,1\n", "other\n1\n", f"timesteps\n{'9' * 5_000}\n", "timesteps\n-1\n"],
)
def test_damage_is_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"progress\.csv: last line: timesteps: expected a number"):
        last_logged_step(write(tmp_path, text))


def test_a_cell_without_end(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"progress\.csv: expected CSV"):
        last_logged_step(write(tmp_path, f"timesteps\n{'1' * 200_000}\n"))
