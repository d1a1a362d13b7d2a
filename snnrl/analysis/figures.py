"""What all pictures share: colours, panels, files."""

from __future__ import annotations

import hashlib
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

# Okabe and Ito's colours for the colour-blind (https://jfly.uni-koeln.de/color/), without the
# yellow, too light for a line on white, and the second blue, too near the first when in a band.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")
PANELS_IN_A_ROW = 3
LETTERS_PER_INCH = 16  # of a caption
STEPS = EngFormatter(sep="")


class LineStyle(NamedTuple):
    """How a group looks, in matplotlib's terms."""

    color: str
    linestyle: str


def line_styles(names: Sequence[str]) -> dict[str, LineStyle]:
    """Colour and dash of each group.

    Chosen by the name, so that a group looks the same in every picture; of two names that choose
    the same colour, the later one in the alphabet moves on to the next that is free.
    """
    size = len(COLOURS)
    taken: set[int] = set()
    styles: dict[str, LineStyle] = {}
    for name in sorted(names):
        round_ = len(taken) // size
        # This digest, because it gives the normalisation strategies different colours.
        index = int(hashlib.blake2s(name.encode()).hexdigest(), 16) % size
        while round_ * size + index in taken:
            index = (index + 1) % size
        taken.add(round_ * size + index)
        styles[name] = LineStyle(COLOURS[index], LINE_STYLES[round_ % len(LINE_STYLES)])
    return styles


def panels(count: int, caption: str) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels, three in a row, with a caption below."""
    columns = min(count, PANELS_IN_A_ROW)
    rows = math.ceil(count / columns)
    width = max(6.4, 4.6 * columns)
    figure = Figure(figsize=(width, 4.0 * rows + 0.3))
    figure.set_layout_engine("constrained", wspace=0.06, hspace=0.06)
    lines = textwrap.fill(caption, int(LETTERS_PER_INCH * width))
    figure.supxlabel(lines, fontsize="small", color="0.35")
    return figure, [figure.add_subplot(rows, columns, n + 1) for n in range(count)]


def decorate(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """Title, labels and a light grid."""
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def band_alpha(groups: int) -> float:
    """Opacity of a group's band: fainter among many, which would add up to mud."""
    return min(0.2, 0.4 / groups)


def save(figure: Figure, path: str | Path) -> None:
    """Write a PNG; its folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
