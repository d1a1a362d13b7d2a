"""The page: published numbers, ours beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.evidence.page import make_page, published_table
from scripts.evidence.place import Place
from snnrl.analysis.comparison import compare_runs
from snnrl.analysis.run_folders import load_run
from snnrl.errors import UserError
from tests.evidence.helpers import group, place_with
from tests.run_folders import published_settings, write_run


def write(
    folder: Path, seed: int, top: float, *, bn: str = "none", env: str = "Walker2d-v4", **more: str
) -> Path:
    """A run that reaches ``top`` and falls back; ``more`` may have ``status``."""
    settings = {**published_settings(f"bn={bn}"), "env.id": env, "total_steps": 300}
    returns = {0: [1.0], 100 + seed: [top], 300: [top / 2]}
    where = folder / env / bn / f"seed-{seed}"
    return write_run(where, returns, seed=seed, settings=settings, status=more.get("status"))


def rows(folders: Sequence[Path]) -> dict[str, list[str]]:
    """The cells of each method of the table, by its name and source."""
    grid = published_table(compare_runs([load_run(f) for f in folders], ["bn.name"]).rows)
    return {f"{row[0]}, {row[2]}": row for row in [grid.header, *grid.rows]}


def test_theirs_and_ours(tmp_path: Path) -> None:
    folders = [write(tmp_path, 0, 3000.0, status="DONE"), write(tmp_path, 1, 3200.0)]
    folders.append(write(tmp_path, 2, 9000.0, status="FAILED"))
    folders += [write(tmp_path, 0, 400.0, bn="ca_only"), write(tmp_path, 0, 50.0, env="Ant-v4")]
    table = rows(folders)
    assert table["method, source"] == [
        *("method", "neuron", "source", "Ant-v4, published", "ours", "Walker2d-v4, published"),
        "ours",
    ]
    # Ours is the mean of each seed's maximum, with what it is of.
    walker = "3100.0 ± 141.4 (2 seeds, 300 steps, 1 unfinished, 1 failed)"
    assert table["pop-SAN, arXiv 2505.24161"][1:] == [
        *(
            "clif",
            "arXiv 2505.24161",
            "4590 ± 1006 (5 seeds)",
            "50.0 (1 seed, 300 steps, 1 unfinished)",
        ),
        *("3307 ± 1514 (5 seeds)", walker),
    ]
    assert table["vanilla LIF, arXiv 2505.24161"][3:] == [
        *("4294 ± 1170 (5 seeds)", "-", "1862 ± 1450 (5 seeds)", "-")
    ]
    assert table["CaRe-BN, arXiv 2509.23791"][3:] == ["5373 (5 seeds)", "-", "4296 (5 seeds)", "-"]
    # What two papers print is there once, with its deviation.
    assert "pop-SAN, arXiv 2509.23791" not in table
    assert table["ca_only, ours alone"][3:] == [
        *("-", "-", "-", "400.0 (1 seed, 300 steps, 1 unfinished)")
    ]


def test_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place: Place = place_with(tmp_path, group())
    for tag, seed in (("evidence-1", 0), ("evidence-2", 1)):
        write(place.results / tag, seed, 3000.0 + seed, status="DONE")
    # What a collection that was killed left behind is no run.
    write(place.results / ".collecting" / "new", 5, 9999.0)
    monkeypatch.chdir(tmp_path)
    make_page(place)
    text = (place.results / "README.md").read_text()
    assert "3000.5 ± 0.707 (2 seeds, 300 steps)" in text
    assert "![Returns over environment steps](curves.png)" in text
    command = "snnrl.compare paper/evidence-1 paper/evidence-2 --metric max_of_seeds --out paper"
    page = (place.results / "comparison.html").read_text()
    assert command in page and str(tmp_path) not in page + text
    assert "our seeds" in (place.results / "table.md").read_text()
    assert (place.results / "curves.png").exists()
    # Made again it is the same.
    make_page(place)
    assert (place.results / "README.md").read_text() == text


def test_nothing_collected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no runs there; expected .* collect first"):
        make_page(place_with(tmp_path, group()))


def test_a_run_that_cannot_be_read_leaves_the_page(tmp_path: Path) -> None:
    place = place_with(tmp_path, group())
    folder = write(place.results / "evidence-1", 0, 3000.0, status="DONE")
    make_page(place)
    before = (place.results / "README.md").read_text()
    (folder / "evaluations.csv").write_text("timesteps\n")
    with pytest.raises(UserError, match="no column"):
        make_page(place)
    assert (place.results / "README.md").read_text() == before
