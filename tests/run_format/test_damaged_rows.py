"""What is said of a table that does not begin with the rows that a checkpoint knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnrl.run_format.table import Table

HEADER = ["timesteps,return"]
ROWS = ["0,1.5", "50,2.5", "50,3.5", "100,4.5"]

DIFFERENCES = {
    "whole": (ROWS, None),
    "later rows": ([*ROWS, "100,9.5", "150,1.0"], None),
    "none": ([], "it lacks 4 of the 4 rows that it had"),
    "fewer": (ROWS[:3], "it lacks 1 of the 4 rows that it had"),
    "later ones in place of some": ([*ROWS[:2], "150,1.0"], "it lacks 2 of the 4 rows that it had"),
    "one twice": ([ROWS[0], *ROWS], "it has 1 row more than the 4 that it had"),
    "three too many": ([*ROWS[:2], *["50,2.5"] * 3, *ROWS[2:]], "it has 3 rows more than the 4"),
    "an earlier one behind": ([*ROWS, "50,2.5"], "it has 1 row more than the 4 that it had"),
    "changed": ([*ROWS[:3], "100,4.25"], "not all of its 4 rows are those that it had"),
    "in another order": (ROWS[::-1], "not all of its 4 rows are those that it had"),
}


@pytest.mark.parametrize(("rows", "said"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_the_difference(tmp_path: Path, rows: list[str], said: str | None) -> None:
    file = tmp_path / "evaluations.csv"
    file.write_text("\n".join([*HEADER, *ROWS, ""]))
    known = Table(file).fingerprint()
    file.write_text("\n".join([*HEADER, *rows, ""]))
    table = Table(file)
    found = table.difference(known, 100)
    assert (found is None) == (said is None) == table.holds(known, 100)
    assert said is None or (found or "").startswith(said)
