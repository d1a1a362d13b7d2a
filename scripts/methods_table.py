"""Write the table of methods into ``docs/methods.md`` from the outcomes of its tests.

    python -m scripts.methods_table
    python -m scripts.methods_table -k regulation   # these cells alone; the others stay

A cell is an outcome of ``tests/test_methods.py``: an agent with the method learns, or is refused.
Without this script the test compares its outcomes with the table.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from snnrl.experiment.config.choice_files import choices
from snnrl.nn.norm import BatchNorm, make_strategy
from snnrl.nn.registry import component
from snnrl.nn.shape import LayerShape

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "methods.md"
TITLES = {
    "bn": "Normalisations, `bn=`",
    "neuron": "Neurons, `neuron=`",
    "surrogate": "Surrogates, `surrogate=`",
    "encoder": "Encoders, `encoder=`",
    "loss": "Loss terms, `loss=`",
    "regulation": "Regulations, `regulation=`",
}
KINDS = {"bn": "norm"}
"""Group -> kind in the registry, if it has another name."""

PLACES = ("TD3", "DDPG", "SAC", "DQN", "PPO", "DQN, images", "PPO, images")
KERNELS = ("native", "compile")
COLUMNS = (*PLACES, *KERNELS)
RECORD = "METHODS_RECORD"
"""Environment variable with the file to which the tests append outcomes, instead of comparing."""


class Cell(NamedTuple):
    """A method in a column."""

    group: str
    name: str
    column: str


Outcomes = Mapping[Cell, str]


def methods() -> list[tuple[str, str]]:
    """Return group and name of every method, in the order of the tables."""
    # Not from the registry, to which this process may have added methods of its own.
    # Only of normalisations is `none` a component.
    return [
        (group, name)
        for group in TITLES
        for name in choices(group)
        if name != "none" or group == "bn"
    ]


def read_table(text: str) -> dict[Cell, str]:
    """Return the cells of a page."""
    found: dict[Cell, str] = {}
    group, columns = "", []
    for line in text.splitlines():
        if line.startswith("## "):
            group = next((g for g, title in TITLES.items() if line == f"## {title}"), "")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not group or not line.startswith("|"):
            continue
        if cells[0] == "name":
            columns = cells
        elif not set(cells[0]) <= {"-", ":"}:
            name = cells[0].strip("`")
            for column, value in zip(columns, cells, strict=True):
                if column in COLUMNS:
                    found[Cell(group, name, column)] = value
    return found


def page(outcomes: Outcomes, before: str) -> str:
    """Return the page with new tables; the text before the first table is kept."""
    parts = [re.split(r"^## ", before, flags=re.MULTILINE)[0].rstrip()]
    for group, title in TITLES.items():
        own = ["statistics"] if group == "bn" else []
        rows = [
            [f"`{name}`", _description(group, name), *([_statistics(name)] if own else [])]
            + [outcomes[Cell(group, name, column)] for column in COLUMNS]
            for each, name in methods()
            if each == group
        ]
        parts.append(f"## {title}\n\n" + _markdown(["name", "method", *own, *COLUMNS], rows))
    return "\n\n".join(parts) + "\n"


def _description(group: str, name: str) -> str:
    """Return the comment at the head of a method's yaml file."""
    lines = (ROOT / "configs" / group / f"{name}.yaml").read_text().splitlines()
    head = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    yaml.safe_load("\n".join(lines))
    text = " ".join(head[: _first_sentence(head)])
    maker = component(KINDS.get(group, group), name).maker
    ours = "reconstruction" in (maker.__doc__ or "")
    return f"{text.rstrip('.')}{'; a reconstruction' if ours else ''}"


def _first_sentence(lines: list[str]) -> int:
    ends = [k for k, line in enumerate(lines, start=1) if line.endswith(".")]
    return ends[0] if ends else len(lines)


def _statistics(name: str) -> str:
    strategy = make_strategy(name)
    if not issubclass(strategy.layer, BatchNorm):
        return "none" if name == "none" else "of each input"
    if strategy.layer.of_membranes:
        return "of membranes, each step by itself"
    layer = strategy.make(LayerShape(4, 3), 1.0)
    assert isinstance(layer, BatchNorm)
    return "of each step" if len(layer.statistics_shape()) == 2 else "pooled over steps"


def _markdown(columns: list[str], rows: Iterable[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Run the tests, write the page and return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "cells.tsv")
        command = [sys.executable, "-m", "pytest", "-q", "tests/test_methods.py", *sys.argv[1:]]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, RECORD: str(record)})
        if done.returncode:
            return done.returncode
        lines = [line.split("\t") for line in record.read_text().splitlines()]
    seen = {Cell(*line[:3]): line[3] for line in lines}
    before = PAGE.read_text()
    PAGE.write_text(page({**read_table(before), **seen}, before))
    return 0


if __name__ == "__main__":
    sys.exit(main())
