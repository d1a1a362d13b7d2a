"""Self-contained HTML page of a comparison."""

from __future__ import annotations

import base64
import platform
from collections.abc import Iterable, Mapping, Sequence
from html import escape as as_html
from importlib import metadata
from pathlib import Path

import snnrl
from snnrl.analysis.comparison import Comparison
from snnrl.analysis.grids import DEFINITIONS, Grid
from snnrl.analysis.grouping import shared_settings
from snnrl.text import printable

PACKAGES = ("numpy", "scipy", "pandas", "matplotlib")

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 92rem;
       padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; }
h1, h2, h3, p { overflow-wrap: anywhere; }
/* The shadow at an edge says that there is more behind it. */
.wide { overflow-x: auto; scrollbar-width: thin; background:
  linear-gradient(90deg, #fff 2rem, #fff0) left / 4rem 100% local no-repeat,
  linear-gradient(270deg, #fff 2rem, #fff0) right / 4rem 100% local no-repeat,
  linear-gradient(90deg, #0003, #0000) left / 1rem 100% scroll no-repeat,
  linear-gradient(270deg, #0003, #0000) right / 1rem 100% scroll no-repeat; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #ddd; padding: 0.3rem 0.7rem; text-align: right;
         white-space: nowrap; }
th { border-bottom-color: #888; }
.left { text-align: left; white-space: normal; min-width: 12rem; max-width: 30rem;
        overflow-wrap: anywhere; }
.left:first-child { position: sticky; left: 0; background: #fff; }
.settings { columns: 20rem; padding: 0; list-style: none; font-size: 0.85rem; }
.settings li { overflow-wrap: anywhere; break-inside: avoid; }
@media print { .wide { overflow: visible; } table { font-size: 0.5rem; }
               th, td { white-space: normal; } }
img { max-width: 100%; height: auto; }
code { background: #f4f4f4; overflow-wrap: anywhere; }
.warnings { background: #fff6e0; border-left: 4px solid #e69f00; padding: 0.4rem 1rem; }
.warnings li { overflow-wrap: anywhere; }
"""


def to_html(comparison: Comparison, pictures: Mapping[str, Path], command: str) -> str:
    """Return the whole page: warnings, tables, figures, shared settings, definitions and versions.

    :param pictures: PNG files by their titles; they become part of the page
    :param command: command that made the page
    """
    body = [
        "<h1>Comparison of runs</h1>",
        f"<p>{escape(comparison.heading)}</p>",
        _warnings(comparison.notes),
    ]
    for title, grids in comparison.sections():
        body += [f"<h2>{escape(title)}</h2>", *map(_table, grids)]
    body += [_picture(title, path) for title, path in pictures.items()]
    body += [
        "<h2>Settings that all runs share</h2>",
        _settings(shared_settings([run for runs in comparison.groups.values() for run in runs])),
        "<h2>Definitions</h2>",
        _list(DEFINITIONS),
        "<h2>How it was made</h2>",
        f"<p><code>{escape(command)}</code></p>",
        f"<p>{escape(versions())}</p>",
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            "<title>Comparison of runs</title>",
            # Without it a browser requests one from the server.
            '<link rel="icon" href="data:,">',
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>",
            "",
        ]
    )


def versions() -> str:
    """Return the versions that computed the page."""
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return f"snnrl {snnrl.__version__}, Python {platform.python_version()}, {packages}"


def _warnings(notes: Sequence[str]) -> str:
    if not notes:
        return "<p>Nothing to warn about.</p>"
    return f'<div class="warnings"><h2>Warnings</h2>{_list(notes)}</div>'


def _table(grid: Grid) -> str:
    head = _line(grid.header, "th", grid.left)
    rows = "\n".join(_line(row, "td", grid.left) for row in grid.rows)
    return (
        f"<h3>{escape(grid.title)}</h3>\n"
        f'<div class="wide" role="region" aria-label="{escape(grid.title)}" tabindex="0">'
        f"<table>\n<thead>{head}</thead>\n"
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _line(cells: Sequence[str], tag: str, left: int) -> str:
    marks = [' class="left"' if column < left else "" for column in range(len(cells))]
    inside = (f"<{tag}{mark}>{escape(c)}</{tag}>" for mark, c in zip(marks, cells, strict=True))
    return f"<tr>{''.join(inside)}</tr>"


def _settings(settings: Mapping[str, str]) -> str:
    lines = (
        f"<li><code>{escape(key)}</code> {escape(value)}</li>" for key, value in settings.items()
    )
    return f'<ul class="settings">{"".join(lines)}</ul>' if settings else "<p>None.</p>"


def _picture(title: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f"<h2>{escape(title)}</h2>\n"
        f'<p><img alt="{escape(title)}" src="data:image/png;base64,{data}"></p>'
    )


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def escape(text: str) -> str:
    """Return a text escaped for HTML."""
    return as_html(printable(text))
