"""Self-contained HTML page of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from snnrl.analysis.comparison import Comparison
from snnrl.analysis.grids import DEFINITIONS
from snnrl.analysis.grouping import shared_settings
from snnrl.analysis.html import (
    bullets,
    document,
    escape,
    picture,
    settings_list,
    table,
    versions,
    warnings,
)


def to_html(comparison: Comparison, pictures: Mapping[str, Path], command: str) -> str:
    """Return the whole page: warnings, tables, figures, shared settings, definitions and versions.

    :param pictures: PNG files by their titles; they become part of the page
    :param command: command that made the page
    """
    body = [
        "<h1>Comparison of runs</h1>",
        f"<p>{escape(comparison.heading)}</p>",
        warnings(comparison.notes),
    ]
    for title, grids in comparison.sections():
        body += [f"<h2>{escape(title)}</h2>", *map(table, grids)]
    for title, path in pictures.items():
        body += [f"<h2>{escape(title)}</h2>", picture(title, path.read_bytes())]
    body += [
        "<h2>Settings that all runs share</h2>",
        settings_list(
            shared_settings([run for runs in comparison.groups.values() for run in runs])
        ),
        "<h2>Definitions</h2>",
        bullets(DEFINITIONS),
        "<h2>How it was made</h2>",
        f"<p><code>{escape(command)}</code></p>",
        f"<p>{escape(versions())}</p>",
    ]
    return document("Comparison of runs", body)
