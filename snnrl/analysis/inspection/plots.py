"""Pictures of an inspection."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from snnrl.analysis.figures import (
    COLOURS,
    STEPS,
    LineStyle,
    decorate,
    line_styles,
    log_scale,
    panels,
)
from snnrl.analysis.inspection.layers import LayerSeen

BLUE, ORANGE, GREEN, BLACK = COLOURS[0], COLOURS[1], COLOURS[2], COLOURS[5]
RASTER_STEPS = 200
"""About as many time steps are drawn beside each other in a raster."""

BINS = 60
OUTERMOST = 0.001
"""Share of values at each end of a distribution that its picture leaves out: single values far out
would make all others a line."""

OF_MODELS = (COLOURS[4], BLACK, BLUE)
"""Colours of the models over training: start, best and last, or two of them."""


def raster_observations(time_steps: int) -> int:
    """Return how many observations a raster shows beside each other."""
    return max(1, RASTER_STEPS // time_steps)


def plot_raster(layers: Sequence[LayerSeen]) -> Figure:
    """Plot the spikes of the first observations, a panel for each layer."""
    heights = [max(0.6, 0.02 * layer.raster.shape[2]) for layer in layers]
    figure = Figure(figsize=(11, sum(heights) + 0.45 * len(layers) + 0.6), layout="constrained")
    axes = figure.subplots(
        len(layers), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    for panel, layer in zip(axes, layers, strict=True):
        _, steps, shown = layer.raster.shape
        drawn = layer.raster[: raster_observations(steps)]
        panel.imshow(
            drawn.reshape(-1, shown).T,
            cmap="Greys",
            aspect="auto",
            interpolation="nearest",
            vmin=0,
            vmax=1,
            extent=(0, len(drawn), shown - 0.5, -0.5),
        )
        for observation in range(1, len(drawn)):
            panel.axvline(observation, color=ORANGE, linewidth=0.3, alpha=0.5)
        panel.set_title(raster_title(layer), fontsize="small", loc="left")
        panel.set_ylabel("neuron", fontsize="small")
        panel.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        panel.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes[-1].set_xlabel(f"environment step ({layers[0].raster.shape[1]} time steps each)")
    return figure


def raster_title(layer: LayerSeen) -> str:
    """Return the title of a layer's raster."""
    shown, neurons = layer.raster.shape[2], len(layer.rates)
    return layer.name if shown == neurons else f"{layer.name} ({shown} of {neurons:,} neurons)"


def plot_rates(layers: Sequence[LayerSeen]) -> Figure:
    """Plot how many neurons fire how often, a panel for each layer and a line for each model."""
    names = list(layers[0].rates_by_model)
    styles = {name: LineStyle(color, "-") for name, color in zip(names, OF_MODELS, strict=False)}
    figure, grid = panels(len(layers), "on the recorded observations", styles)
    for axes, layer in zip(grid, layers, strict=True):
        decorate(axes, layer.name, "firing rate (spikes per time step)", "neurons")
        edges = np.linspace(0, 1, 21)
        for name, rates in layer.rates_by_model.items():
            counts, _ = np.histogram(rates.clip(0, 1), edges)
            color, number = styles[name].color, names.index(name)
            # The earlier, the wider: of equal ones all can be seen.
            axes.stairs(counts, edges, color=color, linewidth=1.5 + 1.5 * (2 - number))
            axes.stairs(counts, edges, color=color, fill=True, alpha=0.15)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(0)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def plot_training(layers: Sequence[LayerSeen]) -> Figure | None:
    """Plot each layer's mean firing rate over training; ``None`` if it is not known."""
    known = {layer.name: layer.training for layer in layers if layer.training is not None}
    if not known:
        return None
    chosen = line_styles(list(known))
    styles = {name: chosen[name] for name in known}
    figure, (axes,) = panels(1, "mean over neurons, on the evaluations' observations", styles)
    decorate(axes, "", "environment steps", "firing rate\n(spikes per time step)")
    for name, (steps, rates) in known.items():
        color, linestyle = styles[name]
        axes.plot(steps, rates, color=color, linestyle=linestyle, marker="o" * (len(steps) == 1))
    axes.set_ylim(0)
    axes.xaxis.set_major_formatter(STEPS)
    return figure


def plot_distributions(layers: Sequence[LayerSeen]) -> Figure:
    """Plot what the normalisations take in and give, and the membrane potentials, a row for each
    layer."""
    figure = Figure(figsize=(13, 2.9 * len(layers) + 0.9), layout="constrained")
    grid = figure.subplots(len(layers), 3, squeeze=False)
    for (before, after, membranes), layer in zip(grid, layers, strict=True):
        what = "membrane potential" if layer.of_membranes else "current"
        _distribution(before, layer.before, f"{layer.name}: into the normalisation", what)
        _distribution(after, layer.after, f"{layer.name}: out of the normalisation", what)
        _distribution(membranes, layer.membranes, f"{layer.name}: at the threshold", "membrane")
        membranes.set_xlabel("membrane potential")
        _mark_threshold(membranes, layer)
        if layer.statistics is not None:
            seen = layer.statistics
            _mark(before, seen.mean, seen.sd, ORANGE, 0.94)
            _mark(before, seen.seen_mean, seen.seen_sd, BLACK, 0.84)
        elif layer.before is not None:
            _write(before, "keeps no statistics")
    figure.legend(
        handles=[
            Line2D([], [], color=ORANGE, marker="|", markersize=9),
            Line2D([], [], color=BLACK, marker="|", markersize=9),
            Line2D([], [], color=ORANGE, linestyle="--"),
            Patch(color=GREEN, alpha=0.2),
        ],
        labels=[
            "moving mean ± sd",
            "mean ± sd of these values",
            "firing threshold",
            "inside the surrogate's window",
        ],
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize="small",
    )
    return figure


def _distribution(axes: Axes, values: np.ndarray | None, title: str, xlabel: str) -> None:
    decorate(axes, title, xlabel, "share of values")
    axes.title.set_fontsize("medium")
    if values is None:
        _write(axes, "no normalisation")
        axes.set(xticks=[], yticks=[], ylabel="", xlabel="")
        return
    low, high = np.quantile(values, [OUTERMOST, 1 - OUTERMOST])
    margin = (high - low) * 0.05 or 0.5
    counts, edges = np.histogram(values, BINS, range=(low - margin, high + margin))
    axes.stairs(counts / len(values), edges, fill=True, color=BLUE, alpha=0.6)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    # Room above for what is marked there.
    axes.set_ylim(0, 1.25 * counts.max() / len(values))


def _mark(axes: Axes, mean: float, sd: float, color: str, height: float) -> None:
    """Draw a mean and one standard deviation to both sides, at a share of the panel's height."""
    axes.plot(
        [mean - sd, mean, mean + sd],
        [height] * 3,
        transform=axes.get_xaxis_transform(),
        color=color,
        marker="|",
        markersize=9,
        markeredgewidth=2,
    )


def _mark_threshold(axes: Axes, layer: LayerSeen) -> None:
    low, high = axes.get_xlim()
    for start, end in layer.window:
        axes.axvspan(start, end, color=GREEN, alpha=0.15, linewidth=0)
    axes.axvline(layer.threshold, color=ORANGE, linestyle="--")
    axes.set_xlim(min(low, layer.threshold * 0.9), max(high, layer.threshold * 1.1))


def _write(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.92, text, transform=axes.transAxes, ha="center", va="top", color="0.35")


def plot_health(layers: Sequence[LayerSeen]) -> Figure:
    """Plot shares of dead and saturated neurons, and of membrane potentials inside the window."""
    figure = Figure(figsize=(7.5, 1.3 + 0.75 * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    decorate(axes, "", "share", "")
    kinds = {
        "dead neurons": (BLACK, [layer.dead / len(layer.rates) for layer in layers]),
        "saturated neurons": (ORANGE, [layer.saturated / len(layer.rates) for layer in layers]),
        "membrane potentials inside the window": (GREEN, [layer.inside for layer in layers]),
    }
    places = np.arange(len(layers))
    for number, (name, (color, shares)) in enumerate(kinds.items()):
        bars = axes.barh(places + 0.26 * (number - 1), shares, 0.24, color=color, label=name)
        axes.bar_label(bars, [f"{100 * each:.3g} %" for each in shares], padding=3, fontsize=8)
    axes.set_yticks(places, [layer.name for layer in layers])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1.12)
    axes.set_xticks(np.linspace(0, 1, 5))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def plot_gradients(layers: Sequence[LayerSeen]) -> Figure:
    """Plot the gradient norm of each layer over the time steps; norms of 0 are not on the scale."""
    chosen = line_styles([layer.name for layer in layers])
    styles = {layer.name: chosen[layer.name] for layer in layers}
    absent = any((layer.gradients == 0).any() for layer in layers)
    caption = "mean over observations" + ("; norms of 0 are left out" if absent else "")
    figure, (axes,) = panels(1, caption, styles)
    decorate(axes, "", "time step", "gradient norm")
    for layer in layers:
        color, linestyle = styles[layer.name]
        norms = np.where(layer.gradients > 0, layer.gradients, math.nan)
        steps = np.arange(1, len(norms) + 1)
        axes.plot(steps, norms, color=color, linestyle=linestyle, marker="o", markersize=4)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    found = np.concatenate([layer.gradients[layer.gradients > 0] for layer in layers])
    if len(found):
        log_scale(axes, found.min() / 1.3, found.max() * 1.3)
    return figure
