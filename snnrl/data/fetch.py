"""Data sets of torchvision: from a folder, or fetched into it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
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


def from_folder(root: str, data: str, folder: str, load: Callable[[str, bool], Any]) -> Any:
    """Return what ``load`` gives: of files that are there, or else of files that it fetches.

    Files are fetched beside their place and moved there when they are whole.

    :param root: folder of data sets
    :param data: the data set, for the error
    :param folder: the data set's own folder in ``root``
    :param load: called with a folder of data sets, and whether to fetch into it
    :raises UserError: the files are not there and cannot be fetched; nothing is left behind
    """
    place = Path(root).expanduser()
    try:
        return load(str(place), False)
    except Exception as problem:
        missing = problem
    if (place / folder).exists():
        raise UserError(
            f"data.root={root}: {data} in {place / folder} is damaged or not whole "
            f"({one_line(missing)}); expected its files there, or the folder removed to fetch them"
        )
    try:
        _fetch(place, folder, load)
        return load(str(place), False)
    except Exception as problem:
        raise UserError(
            f"data.root={root}: {data} is not there and cannot be fetched ({one_line(problem)}); "
            f"expected its files in {place / folder}"
        ) from None


def _fetch(place: Path, folder: str, load: Callable[[str, bool], Any]) -> None:
    made = [part for part in (place, *place.parents) if not part.exists()]
    try:
        place.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{folder}-", dir=place) as new:
            load(new, True)
            # Another process may have fetched the set meanwhile: whichever is there is loaded.
            with suppress(OSError):
                (Path(new) / folder).rename(place / folder)
    finally:
        for part in made:
            with suppress(OSError):  # Not empty: it has the set, or somebody else's files.
                part.rmdir()
