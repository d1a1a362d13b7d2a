"""Self-contained HTML page of an inspection."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from snnrl.analysis.figures import png
from snnrl.analysis.html import (
    document,
    escape,
    picture,
    settings_list,
    table,
    versions,
    warnings,
)
from snnrl.analysis.inspection.layers import (
    FEW_INSIDE,
    MOST_SILENT,
    VANISHING,
    LayerSeen,
    layers_grid,
    share,
)
from snnrl.analysis.inspection.plots import (
    plot_distributions,
    plot_gradients,
    plot_health,
    plot_raster,
    plot_rates,
    plot_training,
)

PIXELS_PER_INCH = 96

FILM = (
    "Left the environment, right the spikes of the agent's layers: a line for each neuron, black "
    "where it spiked. The orange line is now; at the right edge the raster begins again."
)
RASTER = (
    "The spikes of the first observations. A line is a neuron, a column a time step; the thin "
    "orange lines part the environment steps. White lines are silent neurons, black lines ones "
    "that always fire; a layer that looks the same in every step tells the next one nothing."
)
TRAINING = (
    "The mean firing rate of each layer at each evaluation. A layer that falls to 0 dies; one that "
    "climbs to 1 saturates."
)
RATES = (
    "How many neurons fire how often, with the weights of the start (drawn again with the run's "
    "seed) and of the saved models, all on the same observations. Neurons at the left edge hardly "
    "fire, those at the right edge nearly always."
)
DISTRIBUTIONS = (
    "What the normalisation of each layer takes in (left) and gives (middle), and the membrane "
    "potentials as they are compared with the threshold (right). Where the orange bar (moving "
    "mean ± standard deviation, pooled over neurons) is elsewhere than the black one (of these "
    "values), the moving statistics do not fit what the agent sees. Spikes have gradients where "
    "membrane potentials are in the green window."
)
GRADIENTS = (
    "The gradient of half the sum of the squared outputs by the input currents of each layer, as "
    "a Euclidean norm over neurons, mean over observations. The loss is that, not the agent's own: "
    "it needs no critic, and the gradient at the outputs is the outputs themselves. What counts is "
    "how lines differ: a line far below that of the layer behind it gets no gradient to learn from."
)
LAYERS = (
    "Dead: neurons that never fired on the recorded observations; saturated: fired in every time "
    "step. Inside the window: membrane potentials at which the surrogate's derivative is above a "
    f"tenth of its peak. A layer is named in a warning from {share(MOST_SILENT)} dead or saturated "
    f"neurons on, below {share(FEW_INSIDE)} inside the window, and where its gradient norm is "
    f"below {share(VANISHING)} of that of the layer behind it."
)


@dataclass(frozen=True)
class Inspection:
    """What the page shows.

    :param title: environment, label and seed of the run
    :param facts: the model and the episode, in sentences
    :param warnings: what a reader should know first
    :param layers: in the order in which spikes pass them
    :param film: the film's file; ``None`` without one
    :param film_kind: ``gif`` or ``mp4``
    :param no_film: why there is no film, in a sentence
    :param settings: of the run
    :param command: that made the page
    """

    title: str
    facts: Sequence[str]
    warnings: Sequence[str]
    layers: Sequence[LayerSeen]
    film: bytes | None
    film_kind: str
    no_film: str
    settings: Mapping[str, str]
    command: str


def to_html(inspection: Inspection) -> str:
    """Return the whole page."""
    return document(f"A look inside: {inspection.title}", _body(inspection))


def _body(seen: Inspection) -> Iterator[str]:
    yield "<h1>A look inside</h1>"
    yield f"<p>{escape(seen.title)}</p>"
    yield f"<p>{escape(' '.join(seen.facts))}</p>"
    yield warnings(seen.warnings)
    yield "<h2>An episode and its spikes</h2>"
    if seen.film is None:
        yield _text(seen.no_film)
    else:
        yield _text(FILM)
        yield _film(seen.film, seen.film_kind)
    yield _text(RASTER)
    yield _figure("Spike raster", plot_raster(seen.layers))
    yield "<h2>Dead and saturated neurons, and the surrogate's window</h2>"
    yield _text(LAYERS)
    yield _figure("Shares of neurons", plot_health(seen.layers))
    yield table(layers_grid(seen.layers))
    yield "<h2>Firing rates over training</h2>"
    training = plot_training(seen.layers)
    if training is None:
        yield _text("The run has logged no firing rates.")
    else:
        yield _text(TRAINING)
        yield _figure("Firing rates over training", training)
    yield _text(RATES)
    yield _figure("Histograms of firing rates", plot_rates(seen.layers))
    yield "<h2>Before and after normalisation</h2>"
    yield _text(DISTRIBUTIONS)
    for missing in _without_statistics(seen.layers):
        yield _text(missing)
    yield _figure("Distributions", plot_distributions(seen.layers))
    yield "<h2>Gradients</h2>"
    yield _text(GRADIENTS)
    yield _figure("Gradient norms", plot_gradients(seen.layers))
    yield "<h2>Settings of the run</h2>"
    yield settings_list(seen.settings)
    yield "<h2>How it was made</h2>"
    yield f"<p><code>{escape(seen.command)}</code></p>"
    yield _text(versions())


def _text(sentence: str) -> str:
    return f"<p>{escape(sentence)}</p>"


def _figure(alternative: str, figure: Figure) -> str:
    # All with letters of one size.
    return picture(alternative, png(figure), width=round(PIXELS_PER_INCH * figure.get_figwidth()))


def _film(content: bytes, kind: str) -> str:
    if kind == "gif":
        return picture("Film of the episode", content, "gif")
    data = base64.b64encode(content).decode()
    return (
        '<p><video controls loop muted aria-label="Film of the episode" '
        f'src="data:video/mp4;base64,{data}"></video></p>'
    )


def _without_statistics(layers: Sequence[LayerSeen]) -> Iterator[str]:
    """Yield a sentence on what cannot be drawn."""
    if all(layer.before is None for layer in layers):
        yield "This run has no normalisation: there are only membrane potentials to draw."
    elif all(layer.statistics is None for layer in layers):
        yield "This normalisation keeps no moving statistics, so there are none to draw."
