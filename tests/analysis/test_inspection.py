"""Warnings, pictures, film and page of an inspection, of layers made by hand."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from PIL import Image

from snnrl.analysis.figures import png
from snnrl.analysis.inspection.film import film, gif, seconds_of
from snnrl.analysis.inspection.layers import (
    LayerSeen,
    Moment,
    Statistics,
    layer_warnings,
    layers_grid,
    share,
)
from snnrl.analysis.inspection.page import Inspection, to_html
from snnrl.analysis.inspection.plots import (
    plot_distributions,
    plot_gradients,
    plot_health,
    plot_raster,
    plot_rates,
    plot_training,
)

from .test_page import Checker

RATES = np.array([0.0, 0.25, 0.5, 1.0])
WHITE, ORANGE = (255, 255, 255), (213, 94, 0)


def layer(name: str = "layers.0", **changes: Any) -> LayerSeen:
    """Four neurons in 3 observations of 5 time steps: one dead, one saturated."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=500)
    usual: dict[str, Any] = dict(
        name=name,
        rates=RATES,
        raster=generator.random((3, 5, 4)) < RATES,
        inside=0.5,
        gradients=np.array([0.3, 0.4, 0.0, 0.0, 0.0]),
        threshold=0.5,
        window=[(0.0, 1.0)],
        membranes=values,
        before=values * 2,
        after=values,
        statistics=Statistics(0.0, 2.0, 0.1, 1.9, 0.25),
        rates_by_model={"start, step 0": RATES, "last, step 9": RATES / 2},
        training=(np.array([0, 10]), np.array([0.2, 0.3])),
    )
    return LayerSeen(**usual | changes)


def test_shares_counted_by_hand() -> None:
    seen = layer()
    assert (seen.dead, seen.saturated) == (1, 1)
    assert seen.gradient == pytest.approx(0.5)
    (row,) = layers_grid([seen]).rows
    assert row == ["layers.0", "4", "0.438", "25 %", "25 %", "50 %", "0.5", "0.25"]
    assert layers_grid([replace(seen, statistics=None)]).rows[0][-1] == "-"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0 %"), (0.00034, "0.034 %"), (0.123, "12 %")),
        *((0.994, "99 %"), (0.9991, "99.91 %"), (1, "100 %")),
    ],
)
def test_a_share_in_words(value: float, text: str) -> None:
    assert share(value) == text


def test_nothing_to_warn_about() -> None:
    assert layer_warnings([layer("layers.0"), layer("layers.1")]) == []


def test_a_dead_layer_is_named() -> None:
    half = layer(rates=np.array([0.0, 0.0, 0.3, 0.4]))
    less = layer(rates=np.array([0.0, 0.2, 0.3, 0.4, 0.2]))
    (line,) = layer_warnings([half, replace(less, name="layers.1")])
    assert line == "layers.0: 2 of 4 neurons never spiked in 3 observations (dead)"
    (line,) = layer_warnings([layer(rates=np.zeros(4))])
    assert line.endswith("(dead); no signal passes this layer")


def test_a_saturated_layer_is_named() -> None:
    (line,) = layer_warnings([layer(rates=np.array([1.0, 1.0, 1.0, 0.9]))])
    assert line == (
        "layers.0: 3 of 4 neurons spiked in every time step of 3 observations (saturated)"
    )


def test_a_layer_outside_of_its_window_is_named() -> None:
    (line,) = layer_warnings([layer(inside=0.004)])
    assert line.startswith("layers.0: 0.4 % of the membrane potentials are inside the surrogate's")
    assert layer_warnings([layer(inside=0.01)]) == []


def test_vanishing_gradients_are_named() -> None:
    first, second, third = (layer(f"layers.{n}") for n in range(3))
    fine = replace(first, gradients=first.gradients * 0.0101)
    assert layer_warnings([fine, second]) == []
    faint = replace(first, gradients=first.gradients * 0.005)
    assert layer_warnings([faint, second, third]) == [
        "layers.0: its gradient norm is 0.5 % of that of layers.1, the layer behind it (vanishing)"
    ]
    none = replace(first, gradients=np.zeros(5))
    assert layer_warnings([none, second]) == [
        "layers.0: no gradient comes back from layers.1 (vanished)"
    ]
    # Where the last one gets none, the others are not to blame.
    assert layer_warnings([none, replace(second, gradients=np.zeros(5))]) == [
        "layers.1: the last layer gets no gradient (vanished), nor does any before"
    ]


@pytest.mark.parametrize(
    "plot",
    [plot_raster, plot_rates, plot_training, plot_distributions, plot_health, plot_gradients],
)
def test_every_picture_is_drawn(plot: Any) -> None:
    plain = layer("layers.1", before=None, after=None, statistics=None)
    of_membranes = layer("layers.2", of_membranes=True, statistics=None)
    silent = layer("layers.3", gradients=np.zeros(5), membranes=np.zeros(9), window=[])
    for layers in ([layer()], [layer(), plain, of_membranes, silent]):
        picture = matplotlib.image.imread(io.BytesIO(png(plot(layers))))
        assert min(picture.shape[:2]) > 150 and picture.std() > 0.05


def test_no_picture_of_a_training_that_is_not_known() -> None:
    assert plot_training([layer(training=None)]) is None


def pictures(count: int = 3, **changes: Any) -> list[np.ndarray]:
    frames = [np.full((40, 40, 3), (0, 0, 200), np.uint8) for _ in range(count)]
    moments = [Moment(1, n + 1, -1.5 * n) for n in range(count)]
    return list(film(frames, moments, [layer(**changes)], "Task-v0"))


def test_a_film_shows_frames_and_fills_the_raster() -> None:
    raster = np.ones((3, 5, 4), bool)
    found = pictures(raster=raster)
    assert {each.shape for each in found} == {(360, 800, 3)}
    for each in found:
        assert (each[:, :350] == (0, 0, 200)).all(2).sum() > 200 * 200
    # All neurons fire: black grows from left to right by a third each time, behind it is the line.
    columns = [int((each[150, 380:] == 0).all(1).sum()) for each in found]
    assert columns[1] / columns[0] == pytest.approx(2, rel=0.05)
    assert columns[2] / columns[0] == pytest.approx(3, rel=0.05)
    assert all((each == ORANGE).all(2).any() for each in found)


def test_a_full_raster_begins_again() -> None:
    # 41 observations of 5 time steps, of which 40 have room.
    found = pictures(41, raster=np.ones((41, 5, 4), bool))
    black = [int((each[150, 380:] == 0).all(1).sum()) for each in found]
    assert black[39] > 300 and black[40] < 20


def test_a_gif_plays_every_picture() -> None:
    found = pictures()
    content = Image.open(io.BytesIO(gif(found, 0.1)))
    assert (content.n_frames, content.info["duration"], content.info["loop"]) == (3, 100, 0)
    content.seek(2)
    shown = np.asarray(content.convert("RGB"), int)
    assert np.abs(shown - found[2]).mean() < 2
    assert tuple(shown[2, 2]) == WHITE


@pytest.mark.parametrize(
    ("fps", "seconds"), [(0, 0.05), (10, 0.1), (20, 0.05), (125, 0.05), (1, 0.5)]
)
def test_how_long_a_picture_stays(fps: float, seconds: float) -> None:
    assert seconds_of(fps) == pytest.approx(seconds)


def page(**changes: Any) -> tuple[str, Checker]:
    usual: dict[str, Any] = dict(
        title="Task-v0, td3 <b>, seed 0",
        facts=["One.", "Two."],
        warnings=["layers.0: 3 of 4 neurons never spiked"],
        layers=[layer()],
        film=b"GIF89a",
        film_kind="gif",
        no_film="",
        settings={"algo.name": "td3"},
        command="python -m snnrl.inspect run",
    )
    text = to_html(Inspection(**usual | changes))
    checker = Checker()
    checker.feed(text)
    checker.close()
    return text, checker


def test_the_page_holds_everything_and_needs_nothing() -> None:
    text, checker = page()
    assert checker.open == [] and "script" not in checker.seen
    assert all(address.startswith("data:") for address in checker.addresses)
    assert "http" not in text
    # The film and six pictures.
    assert checker.seen.count("img") == 7
    warnings = checker.text.index("3 of 4 neurons never spiked")
    assert warnings < checker.text.index("An episode and its spikes")
    for part in ("td3 <b>, seed 0", "One. Two.", "algo.name", "python -m snnrl.inspect run"):
        assert part in checker.text


def test_the_page_says_what_a_run_does_not_have() -> None:
    bare = layer(before=None, after=None, statistics=None, training=None)
    _, checker = page(layers=[bare], film=None, no_film="No film: it cannot.", warnings=[])
    for part in (
        *("Nothing to warn about.", "No film: it cannot.", "has no normalisation"),
        "has logged no firing rates",
    ):
        assert part in checker.text
    assert checker.seen.count("img") == 5
    _, checker = page(layers=[layer(statistics=None)])
    assert "keeps no moving statistics" in checker.text


def test_an_mp4_plays_in_the_page() -> None:
    text, checker = page(film=b"mp4", film_kind="mp4")
    assert checker.seen.count("video") == 1 and "data:video/mp4;base64,bXA0" in text
