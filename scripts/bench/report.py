"""Report of a benchmark: tables to read, and a JSON file with all times and facts."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from scripts.bench.options import Options
from scripts.bench.peers import peers
from scripts.bench.race import Row, Table
from scripts.bench.timing import summarise
from snnrl.experiment.reproduction.provenance import collect

SIGNIFICANT = 3


def facts(options: Options) -> dict[str, Any]:
    """Return machine, versions, source, command, seed and the load of the machine.

    Without git the variable ``REVISION`` names the source.
    """
    found = collect("each", options.threads, options.seed)
    git = found.pop("git")
    found.pop("kernel")
    return {
        **found,
        "command": ["python", "-m", "scripts.bench", *sys.argv[1:]],
        "git": {
            "revision": git["revision"] or os.environ.get("REVISION"),
            "changed": bool(git["diff"] or git["untracked"]),
        },
        "versions": found["versions"]
        | {peer.package: peer.version or "not installed" for peer in peers("cpu")},
        "peers": {peer.name: peer.configuration for peer in peers("cpu")},
        "device": options.device,
        "cuda": torch.version.cuda if options.device == "cuda" else None,
        "load_average": list(os.getloadavg()),
        "options": {key: _plain(value) for key, value in asdict(options).items()},
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def heading(found: dict[str, Any]) -> str:
    """Return the facts in four lines."""
    hardware, versions = found["hardware"], found["versions"]
    # Two processors of one name may have vectors of other widths.
    cpu = f"{hardware['cpu']} ({hardware['vectors']})"
    machine = hardware["gpu"] if found["device"] == "cuda" else cpu
    load = ", ".join(f"{value:.2f}" for value in found["load_average"])
    names = ("torch", "stable_baselines3", *(peer.package for peer in peers("cpu")))
    listed = ", ".join(f"{name} {versions.get(name, 'not installed')}" for name in names)
    revision = (found["git"]["revision"] or "no revision")[:10]
    changed = " with changes" if found["git"]["changed"] else ""
    return (
        f"{machine}, {hardware['cpus']} CPUs, {found['threads']} threads, "
        f"load average at the start {load}\n"
        f"{listed}, Python {versions['python']}\n"
        f"revision {revision}{changed}, seed {found['seed']}, {found['started']}\n"
        f"{' '.join(found['command'])}"
    )


def markdown(table: Table) -> str:
    """Return a table of contestants: median, spread, ratio to the reference, finding of the gate.

    The ratio is how many times faster than the reference (the first row that has a time).
    """
    figures = list(dict.fromkeys(name for row in table.rows for name in row.figures))
    header = ["contestant", "median", "middle half", "times faster", *figures, "computes"]
    reference = next((row for row in table.rows if row.seconds), None)
    lines = [_cells(header), _cells(["---"] * len(header))]
    lines += [_cells(_row(row, reference, figures)) for row in table.rows]
    note = [f"\n{table.note}"] if table.note else []
    return "\n".join([f"### {table.measure}: {table.case}\n", *lines, *note])


def _row(row: Row, reference: Row | None, figures: Sequence[str]) -> list[str]:
    computes = f"{row.status}: {row.detail}" if row.detail else row.status
    if not row.seconds or reference is None:
        return [row.contestant, "-", "-", "-", *("-" for _ in figures), computes]
    times = summarise(row.seconds)
    shown = [f"{row.figures[n]:.{SIGNIFICANT}g}" if n in row.figures else "-" for n in figures]
    return [
        row.contestant,
        duration(times.median),
        f"{duration(times.lower)} to {duration(times.upper)}",
        f"{reference.median / times.median:.2f}",
        *shown,
        computes,
    ]


def _cells(values: Sequence[str]) -> str:
    return "| " + " | ".join(value.replace("|", "/") for value in values) + " |"


def duration(seconds: float) -> str:
    """Return seconds with their unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1 or unit == "us":
            return f"{seconds * factor:.{SIGNIFICANT}g} {unit}"
    raise AssertionError


def as_json(found: dict[str, Any], tables: Sequence[Table]) -> str:
    """Return everything, including every turn of every contestant."""
    return json.dumps({**found, "tables": [_table(table) for table in tables]}, indent=1) + "\n"


def _table(table: Table) -> dict[str, Any]:
    rows = []
    for row in table.rows:
        times = summarise(row.seconds)._asdict() if row.seconds else None
        rows.append({**asdict(row), "summary": times})
    return {"measure": table.measure, "case": table.case, "note": table.note, "rows": rows}


def write(found: dict[str, Any], tables: Sequence[Table], folder: Path) -> tuple[Path, Path]:
    """Write ``<cpu-or-gpu>-<date>.json`` and ``.md`` into ``folder``; return both paths."""
    hardware = found["hardware"]
    machine = hardware["gpu"] if found["device"] == "cuda" else hardware["cpu"]
    slug = re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-")
    stamp = datetime.fromisoformat(found["started"]).strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{slug}-{stamp}.json", folder / f"{slug}-{stamp}.md"
    paths[0].write_text(as_json(found, tables))
    parts = [f"# {machine}\n\n```\n{heading(found)}\n```", *map(markdown, tables)]
    paths[1].write_text("\n\n".join(parts) + "\n")
    return paths
