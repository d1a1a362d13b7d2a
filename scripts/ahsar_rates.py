"""Measures what AHSAR does to the firing rates of random networks whose input is scaled. Writes a
table and a picture.

    python -m scripts.ahsar_rates [folder]
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from snnrl.analysis.figures import COLOURS
from snnrl.experiment.reproduction.provenance import collect
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import make_strategy
from snnrl.nn.regulations.ahsar import AHSAR
from snnrl.nn.traces import counted

TOP = Path(__file__).resolve().parent.parent
SEEDS = (0, 1, 2)
LAYERS, WIDTH, BATCH, STEPS = 8, 48, 32, 5
PASSES, CHANGE, EVALUATE_EVERY = 600, 200, 5
LAST = 50
"""Passes of which end values are means."""

NORMS = {"none": "no normalisation", "vanilla": "batch normalisation"}
SCALES = (0.3, 1.6)
VARIANTS = {
    "constant": "constant thresholds",
    "layers": "AHSAR, no evaluations",
    "global": "AHSAR, with the global gain",
}


class Course(NamedTuple):
    """What happened in one network.

    :param rates: mean firing rate of each layer in each pass, ``[passes, L]``
    :param scales: threshold of each layer in each pass, relative to its start, ``[passes, L]``
    """

    rates: np.ndarray
    scales: np.ndarray


def random_network(norm: str, variant: str, seed: int) -> SpikingNetwork:
    """Return eight random layers of LIF neurons, which fire at a mean rate of about 0.15 without
    normalisation."""
    generator = torch.Generator().manual_seed(seed)
    network = SpikingNetwork(
        WIDTH,
        1,
        [WIDTH] * LAYERS,
        neuron="lif",
        surrogate="rectangular",
        encoder="direct",
        norm=make_strategy(norm),
        time_steps=STEPS,
        population=1,
        kernel="auto",
        readout="linear",
        regulation=None if variant == "constant" else "ahsar",
    )
    for i, layer in enumerate(network.stack()):
        # Spikes are smaller than the inputs.
        spread = 0.6 * (1 if i == 0 else 2) / WIDTH**0.5
        nn.init.normal_(layer.linear.weight, std=spread, generator=generator)
        if layer.linear.bias is not None:
            nn.init.zeros_(layer.linear.bias)
    return network


def follow(norm: str, scale: float, variant: str, seed: int) -> Course:
    """Let a network learn nothing in passes that learn, and scale its input from ``CHANGE`` on.

    An evaluation after every fifth pass brings no progress.
    """
    network = random_network(norm, variant, seed)
    generator = torch.Generator().manual_seed(100 + seed)
    rates, scales = [], []
    for k in range(PASSES):
        x = torch.randn(BATCH, WIDTH, generator=generator) * (scale if k >= CHANGE else 1.0)
        gains = [getattr(each.neuron.threshold, "gain", torch.ones(())) for each in network.stack()]
        scales.append(torch.stack(gains).tolist())
        with counted(network) as seen:
            network(x)
            rates.append([rate.mean().item() for rate in seen().values()])
        if variant == "global" and network.regulation is not None and k % EVALUATE_EVERY == 0:
            network.regulation.evaluated(0.0)
    return Course(np.array(rates), np.array(scales))


def summary(course: Course, band: AHSAR) -> dict[str, float]:
    """Return mean rates over layers before the input changes, right after it and at the end, and
    how many layers are in the band at the end."""
    rates = course.rates
    end = rates[-LAST:].mean(0)
    return {
        "before": float(rates[CHANGE - LAST : CHANGE].mean()),
        "after": float(rates[CHANGE : CHANGE + 5].mean()),
        "end": float(end.mean()),
        # The average of a batch's rates is as good as this.
        "layers": float(((end > band.lowest - 0.005) & (end < band.highest + 0.005)).sum()),
        "scale": float(np.exp(np.log(course.scales[-LAST:]).mean())),
    }


Courses = dict[tuple[str, float, str, int], Course]


def as_markdown(courses: Courses, band: AHSAR) -> str:
    """Return the table: means over seeds, and the lowest and highest."""
    columns = {
        "before": "before",
        "after": "just after",
        "end": "at the end",
        "layers": f"layers of {LAYERS} in the band at the end",
        "scale": "threshold at the end, times",
    }
    heads = ["normalisation", "input times", "thresholds", *columns.values()]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for norm, scale, variant in product(NORMS, SCALES, VARIANTS):
        found = [summary(courses[norm, scale, variant, seed], band) for seed in SEEDS]
        cells = []
        for key in columns:
            values = [each[key] for each in found]
            form = "{:.0f}" if key == "layers" else "{:.2f}"
            shown = [form.format(v) for v in (min(values), max(values))]
            mean = ("{:.1f}" if key == "layers" else "{:.2f}").format(np.mean(values))
            cells.append(f"{mean} [{shown[0]}, {shown[1]}]")
        lines.append(f"| {norm} | {scale:g} | {VARIANTS[variant]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(courses: Courses, band: AHSAR, picture: Path) -> None:
    """Draw the rates of seed 0: means over layers, and the layers with the global gain."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    panels: Any = figure.subplots(len(NORMS), len(SCALES), sharex=True, sharey=True)
    for (i, norm), (j, scale) in product(enumerate(NORMS), enumerate(SCALES)):
        axes = panels[i, j]
        axes.axhspan(band.lowest, band.highest, color="0.9", label="band")
        for k in range(LAYERS):
            own = _smooth(courses[norm, scale, "global", SEEDS[0]].rates[:, k])
            label = "layers, with the global gain" if k == 0 else None
            axes.plot(own, color=COLOURS[2], lw=0.6, alpha=0.4, label=label)
        for colour, (variant, name) in zip(COLOURS, VARIANTS.items(), strict=False):
            mean = courses[norm, scale, variant, SEEDS[0]].rates.mean(1)
            axes.plot(_smooth(mean), color=colour, lw=2, label=f"mean, {name}")
        axes.axvline(CHANGE, color="black", lw=0.8, ls=":", label="input changes")
        axes.set(title=f"{NORMS[norm]}, input times {scale:g}", ylim=(0, 0.4))
        if j == 0:
            axes.set_ylabel("spikes per time step")
        if i == len(NORMS) - 1:
            axes.set_xlabel("pass that learns")
    panels[0, 0].legend(frameon=False, fontsize=8)
    figure.savefig(picture, dpi=90)


def _smooth(values: np.ndarray, width: int = 9) -> np.ndarray:
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def main(folder: Path) -> None:
    """Measure everything and write the results."""
    torch.set_num_threads(1)
    courses: Courses = {}
    for norm, scale, variant, seed in product(NORMS, SCALES, VARIANTS, SEEDS):
        courses[norm, scale, variant, seed] = follow(norm, scale, variant, seed)
        print(f"{norm}, input times {scale:g}, {variant}, seed {seed}: done", file=sys.stderr)
    band = AHSAR(LAYERS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(as_markdown(courses, band))
    draw(courses, band, folder / "rates.png")
    facts = collect("auto", 1, SEEDS[0])
    (folder / "provenance.json").write_text(json.dumps(facts | {"seeds": SEEDS}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TOP / "results" / "ahsar")
