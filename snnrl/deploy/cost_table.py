"""The cost of an action as text and as a csv file."""

from __future__ import annotations

import csv
import io
from textwrap import fill
from typing import Any

from snnrl.deploy.cost_layers import ENERGIES, MEMORY, Cost, LayerCost

ALIGNED_LEFT = "layer"

WIDTH = 100
"""Characters of a line of notes."""


def to_csv(cost: Cost) -> str:
    """Return a table with a row for each layer, one for all (``total``), and one for the ordinary
    network beside it, if there is one; what does not exist is empty."""
    text = io.StringIO()
    records = [_record(layer) for layer in _rows(cost)]
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def to_text(cost: Cost) -> str:
    """Return the same, rounded and shorter, with the notes below it."""
    table = [_cells(layer) for layer in _rows(cost)]
    names = list(table[0])
    widths = {name: max(len(row[name]) for row in [*table, {name: name}]) for name in names}

    def line(row: dict[str, str]) -> str:
        cells = (
            row[name].ljust(widths[name]) if name == ALIGNED_LEFT else row[name].rjust(widths[name])
            for name in names
        )
        return "  ".join(cells).rstrip()

    head = f"cost of an action, mean over {cost.observations:,} observations"
    notes = (fill(note, WIDTH, subsequent_indent="  ") for note in cost.notes)
    return "\n".join([head, line({name: name for name in names}), *map(line, table), *notes, ""])


def _rows(cost: Cost) -> list[LayerCost]:
    return [*cost.layers, cost.total, *([] if cost.reference is None else [cost.reference])]


def _record(layer: LayerCost) -> dict[str, Any]:
    """Return a row of the csv file."""
    own = layer._asdict()
    return {
        "layer": own.pop("name"),
        "kind": own.pop("kind"),
        "inputs": own.pop("inputs"),
        "outputs": own.pop("outputs"),
        "time_steps": own.pop("time_steps"),
        "firing_rate": own.pop("rate"),
        **own,
        **{f"bytes_{each}": layer.memory(each) for each in MEMORY},
        **{f"energy_{each.name}_nj": layer.energy(each) for each in ENERGIES},
    }


def _cells(layer: LayerCost) -> dict[str, str]:
    """Return a row of the text."""

    def whole(number: float | None) -> str:
        return "" if number is None else f"{number:,.0f}"

    return {
        ALIGNED_LEFT: layer.name,
        "K": whole(layer.inputs),
        "N": whole(layer.outputs),
        "T": whole(layer.time_steps),
        "rate": "" if layer.rate is None else f"{layer.rate:.3f}",
        "dense": whole(layer.dense),
        "ACs": whole(layer.acs),
        "MACs": whole(layer.macs + layer.normalisation_macs),
        "updates": whole(layer.updates),
        **{f"{each} B": whole(layer.memory(each)) for each in MEMORY},
        **{f"{each.name} nJ": f"{layer.energy(each):,.2f}" for each in ENERGIES},
    }
