"""Elements shared by all figures: colours, panels, ticks, legend, files."""

from __future__ import annotations

import hashlib
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextToPath
from matplotlib.ticker import (
    EngFormatter,
    FuncFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from snnrl.text import printable, shortened

# Okabe and Ito's colours for the colour-blind (https://jfly.uni-koeln.de/color/), without the
# yellow, too light for a line on white, and the second blue, too near the first when in a band.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")
PANELS_IN_A_ROW = 3
PANEL_HEIGHT = 4.0  # Inches, as are all sizes here.
LINE_HEIGHT = 0.19
LETTERS_PER_INCH = 16  # Size of a caption.
HANDLE_WIDTH = 0.65  # the line beside a group's name, and the gap to the next column
LETTERS_OF_A_PANEL = 44
SMALL = FontProperties(size="small")
STEPS = EngFormatter(sep="")

DPI = 150
FORMATS = ("png", "pdf", "svg")
WITHOUT_A_DATE = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
AS_TEXT = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "snnrl"}
"""Settings of vector figures: text is searchable and editable, ids are the same every time."""


class LineStyle(NamedTuple):
    """Style of a group, in matplotlib's terms."""

    color: str
    linestyle: str


def line_styles(names: Sequence[str]) -> dict[str, LineStyle]:
    """Return colour and dash of each group.

    They are chosen by the name, so that a group looks the same in every figure. If two names choose
    the same colour, the later one in alphabetical order takes the next free one.
    """
    size = len(COLOURS)
    taken: set[int] = set()
    styles: dict[str, LineStyle] = {}
    for name in sorted(names):
        round_ = len(taken) // size
        # This digest gives the normalisation strategies different colours.
        index = int(hashlib.blake2s(name.encode(errors="surrogatepass")).hexdigest(), 16) % size
        while round_ * size + index in taken:
            index = (index + 1) % size
        taken.add(round_ * size + index)
        styles[name] = LineStyle(COLOURS[index], LINE_STYLES[round_ % len(LINE_STYLES)])
    return styles


def panels(count: int, caption: str, legend: Mapping[str, LineStyle]) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``count`` panels, three in a row, with a caption and one legend below
    them.

    The figure grows with the legend, so that panels keep their size.

    :param legend: the style of each group by what is written beside it
    """
    columns = min(count, PANELS_IN_A_ROW)
    rows = math.ceil(count / columns)
    width = max(6.4, 4.6 * columns)
    names = [_wrapped(shown(name), width - HANDLE_WIDTH) for name in legend]
    longest = max(_inches(line) for name in names for line in name.split("\n"))
    in_a_row = min(len(names), max(1, int(width / (longest + HANDLE_WIDTH))))
    text = textwrap.fill(caption, int(LETTERS_PER_INCH * width))
    lines = text.count("\n") + 1 + _lines(names, in_a_row)
    figure = Figure(figsize=(width, PANEL_HEIGHT * rows + LINE_HEIGHT * (lines + 1)))
    figure.set_layout_engine("constrained", wspace=0.06, hspace=0.06)
    handles = [Line2D([], [], **style._asdict()) for style in legend.values()]
    below = figure.legend(
        handles,
        names,
        title=text,
        loc="outside lower center",
        ncols=in_a_row,
        frameon=False,
        fontsize="small",
        title_fontsize="small",
    )
    below.get_title().set_color("0.35")
    for written in below.get_texts():
        written.set_parse_math(False)  # A group's name is not a formula.
    return figure, [figure.add_subplot(rows, columns, n + 1) for n in range(count)]


def _inches(line: str) -> float:
    """Return the width of a line of the legend."""
    points, _, _ = TextToPath().get_text_width_height_descent(line, SMALL, ismath=False)
    return float(points) / 72


def _wrapped(name: str, inches: float) -> str:
    """Return a group's name in lines of at most about this width."""
    if _inches(name) <= inches:
        return name
    # Letters differ in width: a line may be longer than the average suggests.
    return textwrap.fill(name, max(1, int(0.9 * len(name) * inches / _inches(name))))


def _lines(names: Sequence[str], in_a_row: int) -> int:
    """Return the lines of the legend's tallest column; names go down the columns."""
    height, longer = divmod(len(names), in_a_row)
    sizes = [height + (column < longer) for column in range(in_a_row)]
    ends = np.cumsum([0, *sizes])
    columns = [names[a:b] for a, b in pairwise(ends)]
    return max(sum(name.count("\n") + 1 for name in column) for column in columns)


LONGEST_NAME = 1000
"""Most characters of a text in a figure."""


def shown(name: str) -> str:
    """Return a text as it appears in a figure: printable, and of limited length."""
    return shortened(printable(name), LONGEST_NAME)


def decorate(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """Add title, labels, ticks in plain numbers and a light grid."""
    axes.set_title(textwrap.fill(shown(title), LETTERS_OF_A_PANEL))
    axes.set_xlabel(textwrap.fill(shown(xlabel), LETTERS_OF_A_PANEL))
    axes.set_ylabel(ylabel)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_parse_math(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PLAIN)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def log_scale(axes: Axes, low: float, high: float) -> None:
    """Set a logarithmic y-axis from ``low`` to ``high``, with at least two ticks but not too
    many."""
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    decades = math.log10(high / low)
    within_one: Locator = MaxNLocator(5)
    axes.yaxis.set_major_locator(
        within_one if decades < 1 else LogLocator(subs=(1, 2, 5) if decades < 3 else (1,))
    )
    axes.yaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_minor_formatter(NullFormatter())
    if decades < 1:
        axes.yaxis.set_minor_locator(NullLocator())


def plain(value: float) -> str:
    """Return a tick as people write it: ``0.6``, ``20000``; above ten million and below a millionth
    ``1e+07``, to save space."""
    if value and not 1e-6 <= abs(value) < 1e7:
        return f"{value:.3g}"
    # Ten digits, as ticks are sums of binary fractions.
    return np.format_float_positional(float(f"{value:.10g}"), trim="-").replace(
        "-", "\N{MINUS SIGN}"
    )


PLAIN = FuncFormatter(lambda value, _: plain(value))


def band_alpha(groups: int) -> float:
    """Return the opacity of a group's band: lower among many, which would add up."""
    return min(0.2, 0.4 / groups)


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG picture, with the same bytes for the same figure."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, format="png")
    return picture.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format of its name, with the same bytes for the same figure.

    :param path: one of ``FORMATS``; its folder is made
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(AS_TEXT):  # type: ignore[arg-type]
        figure.savefig(path, dpi=DPI, metadata=WITHOUT_A_DATE.get(path.suffix[1:]))
