from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from scripts import confidence_error
from scripts.confidence_error import (
    LAST,
    RULES,
    Batch,
    as_markdown,
    draw,
    errors_of,
    measure,
    record,
    relative,
    synthetic,
    synthetic_name,
)


def test_errors_are_in_true_standard_deviations() -> None:
    one, true = torch.ones(2), (torch.tensor([1.0, 5.0]), torch.tensor([4.0, 4.0]))
    batches = [Batch(3 * one, one, one, true if k == 3 else None) for k in range(4)]
    found = errors_of(LAST, batches)
    assert found.mean == pytest.approx(1.0, rel=1e-4)  # both are 2 away, and the deviation is 2
    assert found.sd == pytest.approx(0.5, rel=1e-4)


def test_the_start_does_not_count() -> None:
    one = torch.ones(1)
    batches = [Batch(9 * one * (k < 2), one, one, (0 * one, one)) for k in range(8)]
    assert errors_of(LAST, batches).mean == pytest.approx(0)
    assert errors_of(LAST, batches, skipped=0).mean > 1


def test_synthetic_currents_have_the_stated_statistics() -> None:
    """At speed 0: errors of a batch are the standard error of correlated values."""
    found = errors_of(LAST, list(synthetic(0.0, False, 0, updates=60)))
    n = 256 * 5 / (1 + 2 * (0.8 * 0.5 + 0.6 * 0.25 + 0.4 * 0.125 + 0.2 * 0.0625))
    assert found.mean == pytest.approx(1 / math.sqrt(n), rel=0.06)
    first, second = (next(synthetic(0.0, False, seed, updates=1)).mean for seed in (0, 1))
    assert not torch.equal(first, second)
    last = list(synthetic(1.0, True, 0, updates=50))[-1]
    assert last.true is not None and (last.true[1] != 1).all()


def test_a_slow_average_is_best_where_nothing_drifts_and_worst_where_much_does() -> None:
    best, worst = [], []
    for speed, found in ((0.0, best), (3.0, worst)):
        batches = list(synthetic(speed, False, 0, updates=200))
        found += [errors_of(rule, batches, 0.6).mean for rule in ("ema 0.03", "published", LAST)]
    assert best == sorted(best)
    assert worst[0] > 2 * worst[1]


def test_an_agent_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confidence_error, "BATCH", 16)
    layers = record("Pendulum-v1", 0, steps=508, every=2)
    assert [len(batches) for batches in layers] == [4, 4, 4]
    assert [batch.true is None for batch in layers[0]] == [True, False, True, False]
    assert [len(batches[0].mean) for batches in layers] == [64, 64, 10]
    true = layers[0][1].true
    assert true is not None
    # A batch of 16 of the same observations is near to the truth, and not equal to it.
    distance = (layers[0][1].mean - true[0]).abs() / true[1].sqrt()
    assert 0 < distance.mean() < 1


def test_table_and_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(confidence_error, "SEEDS", (0, 1))
    monkeypatch.setattr(confidence_error, "SPEEDS", (0.0,))
    names = [synthetic_name(0.0, changing) for changing in (False, True)] + ["a run"]
    sources = {name: lambda seed: [list(synthetic(0.0, True, seed, updates=8))] for name in names}
    errors = relative(measure(sources))
    assert (errors[errors.rule == LAST][["mean", "sd"]] == 1).all(axis=None)
    lines = as_markdown(errors, "mean").splitlines()
    assert lines[0] == "| rule | drift 0 | drift 0 of both | a run |"
    assert len(lines) == 2 + len(RULES) - 1
    assert all(sum("**" in cell for cell in column) == 1 for column in _columns(lines[2:]))
    draw(errors, tmp_path / "errors.png")
    assert (tmp_path / "errors.png").read_bytes()[1:4] == b"PNG"


def _columns(lines: list[str]) -> list[tuple[str, ...]]:
    return list(zip(*(line.split("|")[2:-1] for line in lines), strict=True))


def test_the_recorded_table_is_of_these_rules() -> None:
    folder = confidence_error.TOP / "results" / "confidence"
    errors = pd.read_csv(folder / "errors.csv")
    assert list(errors.rule.unique()) == list(RULES)
    tables = (folder / "table.md").read_text()
    assert as_markdown(relative(errors)[~errors.data.str.startswith("drift")], "mean") in tables
