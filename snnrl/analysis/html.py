"""Elements of self-contained HTML pages: document, tables, pictures, lists."""

from __future__ import annotations

import base64
import platform
from collections.abc import Iterable, Mapping, Sequence
from html import escape as as_html
from importlib import metadata

import snnrl
from snnrl.analysis.grids import Grid
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


def document(title: str, body: Iterable[str]) -> str:
    """Return a whole page.

    :param title: as plain text
    :param body: elements, as HTML
    """
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
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


def warnings(notes: Sequence[str]) -> str:
    """Return the warnings, or that there are none."""
    if not notes:
        return "<p>Nothing to warn about.</p>"
    return f'<div class="warnings"><h2>Warnings</h2>{bullets(notes)}</div>'


def table(grid: Grid) -> str:
    """Return a table below its title; a wide one scrolls."""
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


def settings_list(settings: Mapping[str, str]) -> str:
    """Return settings and their values."""
    lines = (
        f"<li><code>{escape(key)}</code> {escape(value)}</li>" for key, value in settings.items()
    )
    return f'<ul class="settings">{"".join(lines)}</ul>' if settings else "<p>None.</p>"


def picture(alternative: str, content: bytes, kind: str = "png", width: int | None = None) -> str:
    """Return a picture as a part of the page.

    :param alternative: text in its place
    :param content: the file
    :param kind: ``png`` or ``gif``
    :param width: in pixels of the page, if there is room; ``None``: the picture's own
    """
    data = base64.b64encode(content).decode()
    wide = "" if width is None else f' width="{width}"'
    return f'<p><img alt="{escape(alternative)}"{wide} src="data:image/{kind};base64,{data}"></p>'


def bullets(lines: Iterable[str]) -> str:
    """Return a list of lines of text."""
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def escape(text: str) -> str:
    """Return a text escaped for HTML."""
    return as_html(printable(text))
