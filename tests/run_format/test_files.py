"""What the writer of a file of a run folder writes, its reader reads; what is damaged is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from snnrl.errors import UserError
from snnrl.run_format import evaluations, names, statistics_error
from snnrl.run_format.config import read_config, read_overrides, write_config, write_overrides
from snnrl.run_format.done import check_sealed, read_done, write_done
from snnrl.run_format.evaluations import read_evaluations
from snnrl.run_format.failures import (
    Failure,
    add_failure,
    failed_twice,
    read_failures,
    read_reason,
    write_failed,
)
from snnrl.run_format.progress import TIME_ELAPSED, read_clock
from snnrl.run_format.provenance import read_provenance, write_provenance
from snnrl.run_format.statistics_error import read_statistics_error
from snnrl.run_format.status import is_run, status_of
from snnrl.run_format.table import Table

CONFIG = {"seed": 3, "env": {"id": "X-v0", "kwargs": {"text": "ß: '\n"}}, "bn": {"name": "none"}}
STARTS = [
    {"versions": {"torch": "1"}, "git": None},
    {"versions": {}, "hardware": {"cpu": "ü"}},
    {"versions": {"torch": "3"}, "kernel": "naive"},
]


@pytest.mark.parametrize("title", ["", "td3-lif-carebn: all of it"])
def test_configuration(tmp_path: Path, title: str) -> None:
    write_config(tmp_path, yaml.safe_dump(CONFIG), title)
    assert read_config(tmp_path) == CONFIG
    first = (tmp_path / names.CONFIG).read_text().splitlines()[0]
    assert first == (f"# {title}" if title else "bn:")


@pytest.mark.parametrize("overrides", [[], ["env.id=a b", "seed=0", "bn=${x}"]])
def test_overrides(tmp_path: Path, overrides: list[str]) -> None:
    assert read_overrides(tmp_path) is None
    write_overrides(tmp_path, overrides)
    assert read_overrides(tmp_path) == overrides


@pytest.mark.parametrize("starts", [STARTS[:1], STARTS[:2], STARTS])
def test_provenance(tmp_path: Path, starts: list[dict[str, Any]]) -> None:
    assert read_provenance(tmp_path) == []
    write_provenance(tmp_path, starts)
    assert read_provenance(tmp_path) == starts
    # One more start of the run that is there.
    write_provenance(tmp_path, [*read_provenance(tmp_path), {"threads": 2}])
    assert read_provenance(tmp_path) == [*starts, {"threads": 2}]


def test_done(tmp_path: Path) -> None:
    write_config(tmp_path, yaml.safe_dump(CONFIG))
    write_done(tmp_path, 1234, "naive")
    done = read_done(tmp_path)
    assert done.timesteps == 1234
    assert set(done.files) == {names.CONFIG}
    check_sealed(tmp_path)
    write_config(tmp_path, yaml.safe_dump({**CONFIG, "seed": 4}))
    with pytest.raises(
        UserError, match=r"config\.yaml: damaged \(it has changed since the run was done\)"
    ):
        check_sealed(tmp_path)


def test_failures(tmp_path: Path) -> None:
    one, two = Failure(5, "ValueError: no"), Failure(7, "ValueError: no")
    for failure, twice in ((one, None), (two, None), (two, two)):
        add_failure(tmp_path, failure)
        write_failed(tmp_path, f"Traceback\n  line\n{failure.reason}\n\n")
        assert failed_twice(tmp_path) == twice
    assert read_failures(tmp_path) == [one, two, two]
    assert read_reason(tmp_path) == "ValueError: no"
    (tmp_path / names.FAILED).unlink()
    assert failed_twice(tmp_path) is None


def test_tables(tmp_path: Path) -> None:
    for step in (0, 10):
        rows = [[step, episode, 7, 0.1 + step, 3] for episode in (0, 1)]
        table = Table(tmp_path / names.EVALUATIONS, evaluations.COLUMNS)
        table.append(dict(zip(evaluations.COLUMNS, row, strict=True)) for row in rows)
        Table(tmp_path / names.PROGRESS).append([{"timesteps": step, TIME_ELAPSED: step / 4}])
        row = [step, "replay", "before", "layer0", 0.5, 2.0, 0.25]
        table = Table(tmp_path / names.STATISTICS_ERROR, statistics_error.COLUMNS)
        table.append([dict(zip(statistics_error.COLUMNS, row, strict=True))])
    assert read_evaluations(tmp_path, "unfinished")["return"].tolist() == [0.1, 0.1, 10.1, 10.1]
    assert read_clock(tmp_path, "unfinished").to_dict() == {0: 0.0, 10: 2.5}
    errors = read_statistics_error(tmp_path, "unfinished")
    assert errors is not None
    assert errors["mean_error"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("files", "run", "status"),
    [
        ((), False, "unfinished"),
        ((names.CONFIG,), False, "unfinished"),
        ((names.CONFIG, names.LOCK), True, "unfinished"),
        ((names.CONFIG, names.PROVENANCE, names.DONE), True, "done"),
        ((names.CONFIG, names.FAILED), True, "failed"),
        ((names.EVALUATIONS, names.DONE), False, "done"),
    ],
)
def test_status(tmp_path: Path, files: tuple[str, ...], run: bool, status: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert (is_run(tmp_path), status_of(tmp_path)) == (run, status)


@pytest.mark.parametrize(
    ("name", "text", "read", "reason"),
    [
        (names.CONFIG, "- 1", read_config, "expected a mapping, not list"),
        (names.OVERRIDES, "a: 1", read_overrides, "cannot be read; the run folder is damaged"),
        (names.PROVENANCE, "[]", read_provenance, "expected a mapping, not list"),
        (
            names.PROVENANCE,
            '{"resumed_from": [1]}',
            read_provenance,
            "expected a mapping, with a list of such in 'resumed_from'",
        ),
        (
            names.PROVENANCE,
            '{"resumed_from": [{"hardware": 1}]}',
            read_provenance,
            "expected a mapping with a mapping 'hardware'",
        ),
        (names.DONE, '{"timesteps": -1}', read_done, "remove it to resume from the checkpoint"),
    ],
)
def test_what_is_damaged_is_named(
    tmp_path: Path, name: str, text: str, read: Callable[[Path], Any], reason: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert reason in str(caught.value)
