"""Bitwise comparison of the results of two run folders, with the first difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from snnrl.errors import UserError
from snnrl.run_format.evaluations import COLUMNS
from snnrl.run_format.model import read_tensors
from snnrl.run_format.names import EVALUATIONS, MODEL
from snnrl.run_format.progress import is_clock
from snnrl.run_format.table import Table


@dataclass(frozen=True)
class Comparison:
    """Result of comparing one file.

    :param file: name of the file
    :param same: whether it is identical; ``None`` if there is nothing to compare with
    :param detail: the amount that is identical, or the first difference
    """

    file: str
    same: bool | None
    detail: str


def compare_results(then: Path, now: Path) -> list[Comparison]:
    """Compare the results of two runs: the evaluations and the tensors of the final model.

    :raises UserError: the file of one of them cannot be read
    """
    return [compare_tables(then, now, EVALUATIONS, COLUMNS), compare_models(then, now)]


def is_same(comparisons: Sequence[Comparison]) -> bool:
    """Return whether everything was compared and nothing differs."""
    return all(comparison.same is True for comparison in comparisons)


def compare_tables(
    then: Path,
    now: Path,
    name: str,
    needed: Sequence[str] = ("timesteps",),
    *,
    resumed: bool = False,
) -> Comparison:
    """Compare two csv files cell by cell, except wall-clock columns and columns that only one has.

    :param needed: columns that both must have
    :param resumed: whether the run there was resumed: an earlier version may have extended it and
        left a row of its earlier end
    :raises UserError: one of them is not such a table
    """
    if not (then / name).exists():
        return Comparison(name, None, f"{then} does not hold it")
    theirs, ours = _rows(then / name), _rows(now / name)
    columns = [c for c in (theirs or [{}])[0] if c in (ours or [{}])[0] and not is_clock(c)]
    lacking = not set(needed) <= set(columns) or len(columns) < 2
    if theirs and ours and lacking:
        raise UserError(f"{then / name}: expected the columns {', '.join(ours[0])}")
    for number, (row, again) in enumerate(zip(theirs, ours, strict=False), start=1):
        wrong = next((c for c in columns if row[c] != again[c]), None)
        if wrong == "timesteps" and resumed:
            # An extended run has a row of its earlier end, and losses accumulated since then after
            # it.
            return Comparison(
                name, None, f"equal up to row {number - 1}; later rows are of other steps"
            )
        if wrong is not None:
            return Comparison(
                name,
                False,
                f"first differs at step {row['timesteps']}, row {number}, {wrong}: "
                f"{row[wrong]} there, {again[wrong]} here",
            )
    if len(theirs) != len(ours):
        return Comparison(name, False, f"{len(theirs)} rows there, {len(ours)} here")
    return Comparison(name, True, f"{len(theirs)} rows")


def compare_models(then: Path, now: Path, name: str = MODEL) -> Comparison:
    """Compare networks, statistics and optimisers of two saved agents bit by bit.

    :raises UserError: a file is not one that a run has saved
    """
    if not (then / name).exists():
        return Comparison(name, None, f"{then} does not hold it")
    theirs, ours = _tensors(then / name), _tensors(now / name)
    if alone := sorted(theirs.keys() ^ ours.keys()):
        where = "there" if alone[0] in theirs else "here"
        return Comparison(name, False, f"{alone[0]}: only {where}")
    wrong = [key for key in theirs if not _equal(theirs[key], ours[key])]
    if not wrong:
        return Comparison(name, True, f"{len(theirs)} tensors")
    return Comparison(
        name,
        False,
        f"{len(wrong)} of {len(theirs)} tensors differ, first {wrong[0]}"
        f"{_distance(theirs[wrong[0]], ours[wrong[0]])}",
    )


def _rows(file: Path) -> list[dict[str, str]]:
    table = Table(file)
    if not table.ends_whole:
        raise UserError(f"{file}: half-written, its last line has no end")
    return table.rows()


def _tensors(file: Path) -> dict[str, Any]:
    """Return name -> tensor or number for every file of tensors in the zip."""
    states = read_tensors(file)
    return {name: each for part, state in states.items() for name, each in _flat(state, part)}


def _flat(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, child in node.items():
            yield from _flat(child, f"{name}.{key}")
    elif isinstance(node, list | tuple):
        yield from _flat(dict(enumerate(node)), name)
    else:
        yield name, node


def _equal(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, torch.Tensor) and isinstance(ours, torch.Tensor):
        # Bytes are compared, so that a NaN equals itself.
        same_kind = theirs.dtype == ours.dtype and theirs.shape == ours.shape
        return same_kind and _bytes(theirs) == _bytes(ours)
    return bool(theirs == ours)


def _bytes(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().numpy().tobytes())


def _distance(theirs: Any, ours: Any) -> str:
    if not isinstance(theirs, torch.Tensor) or theirs.shape != ours.shape:
        return f" ({theirs} there, {ours} here)"
    return f", by up to {(theirs.double() - ours.double()).abs().max().item():.3g}"
