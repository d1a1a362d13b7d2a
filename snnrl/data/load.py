"""Data sets by their names."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from snnrl.data.sets import DataSet
from snnrl.errors import UserError, expect

NAMES = ("digits", "mnist", "cifar10", "dvs_cifar10")
"""Choices of ``data=``, each a module of this package."""

OF_FILES = ("mnist", "cifar10", "dvs_cifar10")


@lru_cache(1)
def load_data(
    name: str, root: str | None = None, examples: int | None = None, **settings: int
) -> DataSet:
    """Return a data set; the same object while nothing else is asked for.

    :param name: one of :data:`NAMES`
    :param root: folder of its files, if it has some
    :param examples: number of training examples, the first ones; ``None``: all
    :param settings: others of this set
    :raises UserError: no such set, its library is not installed, its files are not there and
        cannot be fetched, too few examples, or a label that is no class
    """
    expect("data", name, NAMES)
    arguments = [root] if name in OF_FILES else []
    data: DataSet = import_module(f"snnrl.data.{name}").load(*arguments, **settings)
    where = f"data={name}" if root is None else f"data.root={root}: {name}"
    data.check(where)
    if examples is not None:
        if len(data.train.labels) < examples:
            raise UserError(
                f"data.examples={examples}: {name} has {len(data.train.labels)} to learn from; "
                "expected at most that many"
            )
        data = data._replace(train=data.train.first(examples))
    return data
