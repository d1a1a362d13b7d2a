"""What was seen of a spiking layer, and the warnings that follow from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from snnrl.analysis.grids import Grid

MOST_SILENT = 0.5
"""Share of dead, or of saturated, neurons from which on a layer is named. A few of either kind are
usual, and the others carry the signal; where it is half of them, the layer is not as wide as it was
asked to be."""

VANISHING = 0.01
"""Share of the gradient norm of the layer behind it below which a layer's has vanished. Layers that
have just been drawn pass on between a tenth and all of it; two layers of this share leave less than
a ten thousandth."""

FEW_INSIDE = 0.01
"""Share of membrane potentials inside the surrogate's window below which a layer is named: hardly
any spike has a gradient then."""


class Moment(NamedTuple):
    """Where a step is.

    :param episode, step: both from 1
    :param total_reward: undiscounted return of the episode after this step
    """

    episode: int
    step: int
    total_reward: float


@dataclass(frozen=True)
class Statistics:
    """Moving statistics of a normalisation, pooled over its neurons (and time steps), and those of
    the recorded observations.

    Pooled means: of all the values together. The variance is the mean of the variances and the
    variance of the means.

    :param mean, sd: of the moving statistics
    :param seen_mean, seen_sd: of the recorded observations
    :param error: mean over neurons of ``|moving mean - mean|``, in standard deviations of the
        recorded observations
    """

    mean: float
    sd: float
    seen_mean: float
    seen_sd: float
    error: float


@dataclass(frozen=True)
class LayerSeen:
    """A spiking layer on the recorded observations.

    Values are a sample where they are many.

    :param name: as in ``agent.record``
    :param rates: of each neuron, how often it fired per time step: 0 if never, 1 if always
        ``[neurons]``
    :param raster: whether neurons fired, ``[observations, T, shown neurons]``
    :param inside: share of membrane potentials inside the surrogate's window
    :param gradients: norm of the loss's gradient by the layer's input currents, in each time step:
        Euclidean over neurons, mean over observations ``[T]``
    :param threshold: of the neurons
    :param window: stretches of membrane potential inside the surrogate's window
    :param membranes: membrane potentials before the reset ``[values]``
    :param before, after: what the normalisation takes in and gives ``[values]``; ``None`` without
        one
    :param of_membranes: whether it normalises membrane potentials, not currents
    :param statistics: of the normalisation; ``None`` if it keeps none
    :param rates_by_model: the rates of other models on the same observations, by their names
    :param training: mean firing rate over training, and its environment steps
    """

    name: str
    rates: np.ndarray
    raster: np.ndarray
    inside: float
    gradients: np.ndarray
    threshold: float
    window: Sequence[tuple[float, float]]
    membranes: np.ndarray
    before: np.ndarray | None = None
    after: np.ndarray | None = None
    of_membranes: bool = False
    statistics: Statistics | None = None
    rates_by_model: dict[str, np.ndarray] = field(default_factory=dict)
    training: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def dead(self) -> int:
        """Return how many neurons never fired."""
        return int((self.rates == 0).sum())

    @property
    def saturated(self) -> int:
        """Return how many neurons fired in every time step."""
        return int((self.rates == 1).sum())

    @property
    def gradient(self) -> float:
        """Return the gradient norm of all time steps together."""
        return float(np.sqrt(np.square(self.gradients).sum()))


def layer_warnings(layers: Sequence[LayerSeen]) -> list[str]:
    """Return a line for each fault of a layer: dead, saturated, outside of its surrogate's window,
    without gradient.

    :param layers: of one network, in the order in which spikes pass them
    """
    lines = [line for layer in layers for line in _activity_warnings(layer)]
    return [*lines, *_gradient_warnings(layers)]


def _activity_warnings(layer: LayerSeen) -> Iterator[str]:
    neurons, observations = len(layer.rates), len(layer.raster)
    seen = f"{observations:,} observation{'s' if observations != 1 else ''}"
    if layer.dead >= MOST_SILENT * neurons:
        nothing = "; no signal passes this layer" if layer.dead == neurons else ""
        yield (
            f"{layer.name}: {layer.dead:,} of {neurons:,} neurons never spiked in {seen} "
            f"(dead){nothing}"
        )
    if layer.saturated >= MOST_SILENT * neurons:
        yield (
            f"{layer.name}: {layer.saturated:,} of {neurons:,} neurons spiked in every time step "
            f"of {seen} (saturated)"
        )
    if layer.inside < FEW_INSIDE:
        yield (
            f"{layer.name}: {share(layer.inside)} of the membrane potentials are inside the "
            "surrogate's window: hardly any spike has a gradient"
        )


def _gradient_warnings(layers: Sequence[LayerSeen]) -> Iterator[str]:
    for layer, behind in pairwise(layers):
        if layer.gradient == 0 < behind.gradient:
            yield f"{layer.name}: no gradient comes back from {behind.name} (vanished)"
        elif layer.gradient < VANISHING * behind.gradient:
            yield (
                f"{layer.name}: its gradient norm is {share(layer.gradient / behind.gradient)} of "
                f"that of {behind.name}, the layer behind it (vanishing)"
            )
    if layers and layers[-1].gradient == 0:
        yield f"{layers[-1].name}: the last layer gets no gradient (vanished), nor does any before"


def layers_grid(layers: Sequence[LayerSeen]) -> Grid:
    """Return a table with a row for each layer."""
    header = [
        *("layer", "neurons", "mean rate", "dead", "saturated", "inside the window"),
        *("gradient norm", "error of the moving mean (sd)"),
    ]
    rows = [
        [
            layer.name,
            f"{len(layer.rates):,}",
            f"{layer.rates.mean():.3f}",
            share(layer.dead / len(layer.rates)),
            share(layer.saturated / len(layer.rates)),
            share(layer.inside),
            f"{layer.gradient:.3g}",
            "-" if layer.statistics is None else f"{layer.statistics.error:.2f}",
        ]
        for layer in layers
    ]
    return Grid("Layers", header, rows)


def share(value: float) -> str:
    """Return a share in per cent with two digits; what is not 0 is not shown as 0."""
    return f"{100 * value:.2g} %" if value < 0.995 else f"{100 * value:.4g} %"
