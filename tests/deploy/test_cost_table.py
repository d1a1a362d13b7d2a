"""The cost of an action as text and as csv."""

from __future__ import annotations

import csv
import io

from snnrl.deploy.cost_layers import Cost, LayerCost
from snnrl.deploy.cost_table import WIDTH, to_csv, to_text


def layer(name: str, kind: str, **changes: float | int | None) -> LayerCost:
    zero = dict.fromkeys(LayerCost._fields, 0) | {"name": name, "kind": kind, "rate": None}
    return LayerCost(**zero | changes)  # type: ignore[arg-type]


SPIKING = layer("layers.0", "spiking", inputs=3, outputs=8, time_steps=5, rate=0.25, acs=1234.5)
SPIKING = SPIKING._replace(dense=120.0, updates=40.0, parameters=32)
READOUT = layer("decoder", "readout", inputs=8, outputs=2, time_steps=1, macs=16.0, dense=16.0)
READOUT = READOUT._replace(effective_macs=9.0, normalisation_macs=4.0, parameters=18)
REFERENCE = layer("ordinary 8", "reference", macs=40.0, effective_macs=None, inputs=None)
COST = Cost([SPIKING, READOUT], 1000, ["left out: " + "much " * 40, "all else is in"], REFERENCE)


def test_csv() -> None:
    rows = {row["layer"]: row for row in csv.DictReader(io.StringIO(to_csv(COST)))}
    assert list(rows) == ["layers.0", "decoder", "total", "ordinary 8"]
    assert rows["layers.0"]["firing_rate"] == rows["total"]["firing_rate"] == "0.25"
    assert rows["layers.0"]["acs"] == rows["total"]["acs"] == "1234.5"
    assert rows["decoder"]["firing_rate"] == rows["total"]["inputs"] == ""
    assert rows["ordinary 8"]["effective_macs"] == ""
    assert (rows["total"]["bytes_float32"], rows["total"]["bytes_8bit"]) == ("200", "50")
    joules = (16 + 4) * 4.6e-3 + 1234.5 * 0.9e-3
    assert abs(float(rows["total"]["energy_45nm_nj"]) - joules) < 1e-12


def test_text() -> None:
    head, names, *rows = to_text(COST).splitlines()
    assert head == "cost of an action, mean over 1,000 observations"
    assert names.split()[:8] == ["layer", "K", "N", "T", "rate", "dense", "ACs", "MACs"]
    assert " ".join(rows[0].split()) == "layers.0 3 8 5 0.250 120 1,234 0 40 128 32 1.11 0.10"
    # Both kinds of MACs.
    assert rows[1].split()[5:7] == ["0", "20"]
    assert rows[2].startswith("total") and rows[3].startswith("ordinary 8")
    notes = rows[4:]
    assert notes[0].startswith("left out: much") and notes[-1] == "all else is in"
    assert max(map(len, notes)) <= WIDTH and notes[1].startswith("  much")
    ends = {len(line) for line in [names, *rows[:4]]}
    assert len(ends) == 1
