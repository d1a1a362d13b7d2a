"""Data sets of torchvision: from a folder, or fetched into it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from snnrl.errors import UserError
from snnrl.text import one_line


def torchvision_sets(data: str) -> Any:
    """Return torchvision's module of data sets.

    :param data: the data set, for the error
    :raises UserError: it is not installed, or does not fit the installed torch
    """
    try:
        return import_module("torchvision.datasets")
    except (ImportError, RuntimeError, OSError) as problem:
        raise UserError(
            f"data={data}: torchvision cannot be imported ({one_line(problem)}); expected a build "
            "of it for the installed torch"
        ) from None


def from_folder(root: str, data: str, folder: str, load: Callable[[bool], Any]) -> Any:
    """Return what ``load`` gives: of files that are there, or else of files that it fetches.

    :param root: folder of data sets
    :param data: the data set, for the error
    :param folder: the data set's own folder in ``root``
    :param load: called with whether to fetch
    :raises UserError: the files are not there and cannot be fetched; nothing is left behind
    """
    place = Path(root).expanduser()
    try:
        return load(False)
    except Exception as problem:
        missing = problem
    if (place / folder).exists():
        raise UserError(
            f"data.root={root}: {data} in {place / folder} is damaged or not whole "
            f"({one_line(missing)}); expected its files there, or the folder removed to fetch them"
        )
    try:
        with _nothing_left(place, place / folder):
            return load(True)
    except Exception as problem:
        raise UserError(
            f"data.root={root}: {data} is not there and cannot be fetched ({one_line(problem)}); "
            f"expected its files in {place / folder}"
        ) from None


@contextmanager
def _nothing_left(root: Path, folder: Path) -> Iterator[None]:
    """Context whose failure removes the folder, and those above it that did not exist."""
    made = [part for part in (root, *root.parents) if not part.exists()]
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        for part in made:
            shutil.rmtree(part, ignore_errors=True)
        raise
