"""An episode's film beside its spike raster."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from snnrl.analysis.figures import COLOURS, shown
from snnrl.analysis.inspection.layers import LayerSeen, Moment
from snnrl.analysis.inspection.plots import raster_observations, raster_title

SIZE = (8.0, 3.6)
"""Inches, at 100 pixels an inch."""

MOST_RASTERS = 4
"""More layers would be a few pixels high each: evenly spaced ones are shown."""

FASTEST = 20
"""Most pictures a second: spikes flicker by otherwise, and browsers slow faster GIFs down."""

LONGEST = 0.5
"""Most seconds of a picture, where an environment asks for less than two a second."""

COLOURS_OF_A_GIF = 128

ROUGH = 8
"""Colours that differ by at most this are black, white or orange themselves."""

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
_red, _green, _blue = (round(255 * part) for part in to_rgb(COLOURS[1]))
ORANGE = (_red, _green, _blue)


def seconds_of(fps: float) -> float:
    """Return how long a picture is shown.

    :param fps: pictures per second that the environment asks for; 0: it does not
    """
    return min(LONGEST, max(1 / FASTEST, 1 / fps if fps > 0 else 0))


def film(
    frames: Sequence[np.ndarray],
    moments: Sequence[Moment],
    layers: Sequence[LayerSeen],
    environment: str,
) -> Iterator[np.ndarray]:
    """Yield each picture of the episode beside the spikes so far, bytes ``[360, 800, 3]``.

    The raster is filled from left to right, as on an oscilloscope, and begins again when it is full
    (:func:`raster_observations`): so neighbouring pictures hardly differ, and a GIF is small.

    :param frames: a picture of each observation, bytes ``[H, W, 3]``
    :param moments: where each is
    :param environment: its name, for the title
    """
    yield from _Screen(layers, environment).pictures(frames, moments)


class _Screen:
    """The picture but for what moves: matplotlib draws it once for each filling of the rasters.

    Frames and spikes are pasted as pixels, which takes a tenth of the time.
    """

    def __init__(self, layers: Sequence[LayerSeen], environment: str):
        indices = np.linspace(0, len(layers) - 1, min(len(layers), MOST_RASTERS))
        self.layers = [layers[i] for i in indices.round().astype(int)]
        self.environment = shown(environment)
        observations, self.steps, _ = self.layers[0].raster.shape
        self.span = min(raster_observations(self.steps), observations)
        self.figure = Figure(figsize=SIZE, dpi=100, layout="constrained")
        self.canvas: Any = FigureCanvasAgg(self.figure)
        halves: Any = self.figure.subfigures(1, 2, width_ratios=(1, 1.25))
        left, right = halves
        self.view = left.add_subplot()
        self.view.set_axis_off()
        # An empty one keeps the place of the title, which moves.
        self.view.set_title(" \n ", fontsize=9)
        self.title = self.view.text(
            0.5, 1.02, "", transform=self.view.transAxes, ha="center", fontsize=9, animated=True
        )
        self.title.set_parse_math(False)
        heights = [max(24, layer.raster.shape[2]) for layer in self.layers]
        self.panels = right.subplots(
            len(self.layers),
            sharex=True,
            squeeze=False,
            gridspec_kw={"height_ratios": heights},
        )[:, 0]
        for panel, layer in zip(self.panels, self.layers, strict=True):
            panel.set_title(raster_title(layer), fontsize=8, loc="left", pad=3)
            panel.set_yticks([])
            panel.set_xlim(0, self.span)
            panel.tick_params(labelsize=7)
        self.panels[-1].set_xlabel(f"environment step ({self.steps} time steps each)", fontsize=8)

    def pictures(
        self, frames: Sequence[np.ndarray], moments: Sequence[Moment]
    ) -> Iterator[np.ndarray]:
        """Yield each picture."""
        several = moments[-1].episode > 1
        for number, (frame, moment) in enumerate(zip(frames, moments, strict=True)):
            within = number % self.span
            if within == 0:
                background = self._background(number)
            self.canvas.restore_region(background)
            episode = f"episode {moment.episode}, " if several else ""
            self.title.set_text(
                f"{self.environment}\n{episode}step {moment.step}, return {moment.total_reward:.4g}"
            )
            self.view.draw_artist(self.title)
            picture = Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3])
            _paste(picture, frame, self._place(self.view), keep_shape=True)
            for panel, layer in zip(self.panels, self.layers, strict=True):
                spikes = np.zeros((self.span, *layer.raster.shape[1:]), bool)
                spikes[: within + 1] = layer.raster[number - within : number + 1]
                place = self._place(panel)
                lines = spikes.reshape(-1, spikes.shape[2]).T
                _paste(picture, np.where(lines[..., None], BLACK, WHITE), place)
                self._draw_cursor(picture, place, (within + 1) / self.span)
            yield np.asarray(picture)

    def _background(self, first: int) -> Any:
        """Draw what stays the same until the rasters are full again, and return it."""
        ticks = MaxNLocator(5, integer=True).tick_values(0, self.span)
        inside = [tick for tick in ticks if 0 <= tick <= self.span]
        self.panels[-1].set_xticks(inside, [f"{first + tick:.0f}" for tick in inside])
        self.canvas.draw()
        # Longer numbers must not move the panels.
        self.figure.set_layout_engine("none")
        return self.canvas.copy_from_bbox(self.figure.bbox)

    def _place(self, axes: Axes) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of what is inside an axes' lines, in pixels."""
        box = axes.get_window_extent()
        height = self.canvas.get_width_height()[1]
        left, right = math.ceil(box.x0) + 1, math.floor(box.x1) - 1
        return left, height - math.floor(box.y1) + 1, right, height - math.ceil(box.y0) - 1

    def _draw_cursor(
        self, picture: Image.Image, place: tuple[int, int, int, int], share: float
    ) -> None:
        left, top, right, bottom = place
        column = min(right - 1, left + round(share * (right - left)))
        picture.paste(ORANGE, (column, top, column + 1, bottom))


def _paste(
    picture: Image.Image,
    content: np.ndarray,
    place: tuple[int, int, int, int],
    *,
    keep_shape: bool = False,
) -> None:
    """Paste a picture ``[H, W, 3]``, made as large as its place.

    :param keep_shape: whether it keeps the ratio of its sides, in the middle of the place
    """
    left, top, right, bottom = place
    width, height = right - left, bottom - top
    pasted = Image.fromarray(np.ascontiguousarray(content, np.uint8))
    if keep_shape:
        factor = min(width / pasted.width, height / pasted.height)
        width, height = max(1, int(pasted.width * factor)), max(1, int(pasted.height * factor))
        left += (right - left - width) // 2
        top += (bottom - top - height) // 2
    smaller = width < pasted.width
    way = Image.Resampling.BOX if keep_shape and smaller else Image.Resampling.NEAREST
    picture.paste(pasted.resize((width, height), way), (left, top))


def gif(pictures: Sequence[np.ndarray], seconds: float) -> bytes:
    """Return an endless GIF.

    :param pictures: bytes ``[H, W, 3]``
    :param seconds: of each
    """
    images = [Image.fromarray(each) for each in pictures]
    few = {0, len(images) // 2, len(images) - 1}
    sheet = Image.fromarray(np.concatenate([pictures[i] for i in sorted(few)]))
    # One palette for all, without dithering: what stays the same stays the same bytes.
    found = np.array(sheet.quantize(COLOURS_OF_A_GIF).getpalette() or [])[: 3 * COLOURS_OF_A_GIF]
    colours = found.reshape(-1, 3)
    # Pillow averages similar colours, and looks for the nearest one only roughly.
    for exact in (BLACK, WHITE, ORANGE):
        colours[np.abs(colours - exact).max(1) <= ROUGH] = exact
    palette = Image.new("P", (1, 1))
    palette.putpalette([*colours.flatten().tolist(), *BLACK, *WHITE, *ORANGE])
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    content = io.BytesIO()
    first.save(
        content,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=round(1000 * seconds),
        loop=0,
    )
    return content.getvalue()
