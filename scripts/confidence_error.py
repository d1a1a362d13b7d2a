"""Measure the errors of moving statistics for each update rule: on synthetic drift, and on training
statistics recorded from short runs. Write a table and a picture.

    python -m scripts.confidence_error [folder]
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from snnrl.agents import TD3
from snnrl.analysis.figures import COLOURS
from snnrl.experiment.reproduction.provenance import collect
from snnrl.nn.norm import norm_layers, recalibrating
from snnrl.nn.norm.confidence import ConfidenceUpdate, CorrectedConfidenceUpdate, KalmanUpdate
from snnrl.nn.norm.effective_n import bounded, var_of_means
from snnrl.nn.norm.ema import ExponentialUpdate

TOP = Path(__file__).resolve().parent.parent
SEEDS = (0, 1, 2)
BATCH, STEPS, FEATURES = 256, 5, 32
SPEEDS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Standard deviation of a random walk's step, in standard errors of a batch's statistic."""
ALIKE = 0.5
"""Autocorrelation of synthetic currents one time step apart."""

MOMENTA = (0.5, 0.3, 0.1, 0.03, 0.01)
LARGE_N = 2000.0
LAST = "last batch"
FAMILIES = ("published", "corrected", "kalman")
RULES: dict[str, Callable[[tuple[int, ...]], nn.Module]] = {
    "published": lambda size: ConfidenceUpdate(size),
    "published, n auto": lambda size: ConfidenceUpdate(size, effective_n="auto"),
    "published, n 2000": lambda size: ConfidenceUpdate(size, effective_n=LARGE_N),
    "corrected": lambda size: CorrectedConfidenceUpdate(size),
    "corrected, n auto": lambda size: CorrectedConfidenceUpdate(size, effective_n="auto"),
    "corrected, n 2000": lambda size: CorrectedConfidenceUpdate(size, effective_n=LARGE_N),
    "kalman": lambda size: KalmanUpdate(size),
    "kalman, n auto": lambda size: KalmanUpdate(size, effective_n="auto"),
    "kalman, n 2000": lambda size: KalmanUpdate(size, effective_n=LARGE_N),
    **{f"ema {m:g}": lambda size, m=m: ExponentialUpdate(m) for m in MOMENTA},  # type: ignore[misc]
    LAST: lambda size: ExponentialUpdate(1.0),
}


class Batch(NamedTuple):
    """Statistics ``[N]`` of a batch, and the true ones after the update; ``None``: not measured."""

    mean: Tensor
    var: Tensor
    var_of_means: Tensor
    true: tuple[Tensor, Tensor] | None


def statistics_of(x: Tensor, true: tuple[Tensor, Tensor] | None) -> Batch:
    """Return what an update rule sees of currents ``x[T, B, N]``."""
    var, mean = torch.var_mean(x, dim=(0, 1), correction=0)
    return Batch(mean, var, bounded(var_of_means(x), var, x), true)


def synthetic(speed: float, changing: bool, seed: int, updates: int = 400) -> Iterator[Batch]:
    """Yield batches of currents with a drifting mean and, if ``changing``, standard deviation.

    The mean is a random walk. The logarithm of the standard deviation is one that slowly returns to
    0. Time steps are autoregressive.
    """
    generator = torch.Generator().manual_seed(seed)
    total = 1 + 2 * sum((1 - k / STEPS) * ALIKE**k for k in range(1, STEPS))
    n = BATCH * STEPS / total
    mean, log_sd = torch.zeros(FEATURES), torch.zeros(FEATURES)
    for _ in range(updates):
        mean = mean + speed * log_sd.exp() / math.sqrt(n) * torch.randn(
            FEATURES, generator=generator
        )
        if changing:
            step = speed / math.sqrt(2 * n) * torch.randn(FEATURES, generator=generator)
            log_sd = 0.99 * log_sd + step
        x = torch.randn(STEPS, BATCH, FEATURES, generator=generator)
        for t in range(1, STEPS):
            x[t] = ALIKE * x[t - 1] + math.sqrt(1 - ALIKE**2) * x[t]
        yield statistics_of(mean + log_sd.exp() * x, (mean, (2 * log_sd).exp()))


class Recording(TD3):
    """TD3 that records the inputs of its actor's normalisations at each update of the actor.

    The true statistics are those of 2,048 observations of the replay buffer, computed with the
    weights after the update. Each layer is normalised with its own true statistics.
    """

    def start_recording(self, seed: int, every: int) -> None:
        """Record from now on, with the true statistics at every ``every``-th update."""
        self.batches: list[list[Batch]] = [[] for _ in norm_layers(self.actor)]
        self.every, self.generator = every, np.random.default_rng(seed)
        self.seen: dict[int, Tensor] = {}
        for i, layer in enumerate(norm_layers(self.actor)):
            # Not a hook: with one the layer would use the naive kernel.
            layer.saw = partial(self._see, i, layer.saw)  # type: ignore[method-assign]

    def _see(self, i: int, saw: Callable[..., None], mean: Tensor, var: Tensor, x: Tensor) -> None:
        self.seen[i] = x.detach()
        saw(mean, var, x)

    def _update_actor(self, batch: Any) -> None:
        super()._update_actor(batch)
        truths: list[Any] = [None] * len(self.batches)
        if len(self.batches[0]) % self.every == self.every - 1:
            truths = self._true_statistics()
        for i, true in enumerate(truths):
            self.batches[i].append(statistics_of(self.seen[i], true))

    def _true_statistics(self) -> list[tuple[Tensor, Tensor]]:
        layers = norm_layers(self.actor)
        kept = [(layer.moving_mean.clone(), layer.moving_var.clone()) for layer in layers]
        inputs = self.sample_inputs("actor", 2048, self.generator)
        assert inputs is not None
        with recalibrating(self.actor):
            self.actor(*inputs)
        found = [(layer.moving_mean.clone(), layer.moving_var.clone()) for layer in layers]
        for layer, (mean, var) in zip(layers, kept, strict=True):
            layer.moving_mean.copy_(mean)
            layer.moving_var.copy_(var)
        return found


def record(env: str, seed: int, steps: int = 2000, every: int = 5) -> list[list[Batch]]:
    """Train a small agent with CaRe-BN and return the batches of each layer of its actor."""
    agent = Recording(
        "SpikingPolicy",
        env,
        learning_rate=1e-3,
        learning_starts=500,
        batch_size=BATCH,
        buffer_size=steps,
        seed=seed,
        device="cpu",
        policy_kwargs=dict(net_arch=[64, 64], bn="carebn", time_steps=STEPS),
    )
    agent.start_recording(seed, every)
    agent.learn(steps)
    return agent.batches


class Errors(NamedTuple):
    """Root mean square errors of a rule in true standard deviations.

    :param mean: of the mean
    :param sd: of the standard deviation
    """

    mean: float
    sd: float


@torch.no_grad()
def errors_of(rule: str, batches: list[Batch], skipped: float = 0.25) -> Errors:
    """Return the errors of a rule after each batch whose true statistics are known.

    :param skipped: share of the first updates that is left out
    """
    size = tuple(batches[0].mean.shape)
    update, mean, var = RULES[rule](size), torch.zeros(size), torch.ones(size)
    found = []
    for k, batch in enumerate(batches):
        update(mean, var, batch.mean, batch.var, BATCH, batch.var_of_means)
        if batch.true is None or k < skipped * len(batches):
            continue
        true_mean, true_var = batch.true
        sd = (true_var + 1e-5).sqrt()
        found.append(torch.stack([(mean - true_mean) / sd, ((var + 1e-5).sqrt() - sd) / sd]))
    both = torch.stack(found).square().mean((0, 2)).sqrt()
    return Errors(both[0].item(), both[1].item())


def measure(sources: dict[str, Callable[[int], list[list[Batch]]]]) -> pd.DataFrame:
    """Return the errors of every rule: columns data, layer, seed, rule, mean, sd.

    :param sources: name of the data -> from a seed to the batches of each layer
    """
    rows = []
    for data, source in sources.items():
        for seed in SEEDS:
            for layer, batches in enumerate(source(seed)):
                for rule in RULES:
                    errors = errors_of(rule, batches)
                    rows.append(
                        dict(data=data, layer=layer, seed=seed, rule=rule, **errors._asdict())
                    )
            print(f"{data}, seed {seed}: done", file=sys.stderr)
    return pd.DataFrame(rows)


def relative(errors: pd.DataFrame) -> pd.DataFrame:
    """Return the errors divided by those of the last batch itself, on the same data."""
    where = ["data", "layer", "seed"]
    last = errors[errors.rule == LAST].set_index(where)[["mean", "sd"]].add_suffix("_last")
    joined = errors.join(last, on=where)
    return errors.assign(mean=joined["mean"] / joined.mean_last, sd=joined.sd / joined.sd_last)


def as_markdown(errors: pd.DataFrame, statistic: str) -> str:
    """Return a table of a statistic's relative errors: the mean over seeds, the lowest and the
    highest. It has a row per rule, and a column per layer of each data set."""
    columns = list(errors[["data", "layer"]].drop_duplicates().itertuples(index=False))
    several = errors.groupby("data").layer.nunique()
    names = [f"{data}, layer {layer}" if several[data] > 1 else data for data, layer in columns]
    lines = ["| rule | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for rule in RULES:
        if rule == LAST:
            continue
        cells = []
        for data, layer in columns:
            here = errors[(errors.data == data) & (errors.layer == layer)]
            means = here.groupby("rule")[statistic].mean().drop(LAST)
            own = here[here.rule == rule][statistic]
            text = f"{own.mean():.2f} [{own.min():.2f}, {own.max():.2f}]"
            cells.append(f"**{text}**" if means.idxmin() == rule else text)
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(errors: pd.DataFrame, picture: Path) -> None:
    """Draw relative errors: over the speed of synthetic drift, and on each recorded layer."""
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, (changing, statistic, title) in zip(
        panels,
        (
            (False, "mean", "mean, the variance is constant"),
            (True, "sd", "deviation, both drift"),
        ),
        strict=False,
    ):
        for i, rule in enumerate(RULES):
            values = [
                errors[(errors.data == synthetic_name(speed, changing)) & (errors.rule == rule)]
                for speed in SPEEDS
            ]
            _line(axes, i, [each[statistic].mean() for each in values], rule)
        axes.set(title=f"synthetic: {title}", xlabel="drift a batch, in standard errors of a batch")
        axes.set_xticks(range(len(SPEEDS)), [f"{speed:g}" for speed in SPEEDS])
    recorded = errors[~errors.data.str.startswith("drift")]
    places = list(recorded[["data", "layer"]].drop_duplicates().itertuples(index=False))
    for i, rule in enumerate(RULES):
        of_rule = recorded[recorded.rule == rule].groupby(["data", "layer"])["mean"].mean()
        _line(panels[2], i, [of_rule[tuple(place)] for place in places], rule)
    panels[2].set(title="recorded from TD3: mean", xlabel="task's capitals, and layer")
    names = [f"{_capitals(data)} {layer}" for data, layer in places]
    panels[2].set_xticks(range(len(places)), names)
    for axes in panels:
        axes.set(ylabel="error / error of the last batch", yscale="log")
    panels[2].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(picture, dpi=90)


def _line(axes: Any, i: int, values: list[float], rule: str) -> None:
    family, _, n = rule.partition(", n ")
    style = {"": "-", "auto": ":", "2000": "-."}[n]
    if family in FAMILIES:
        colour = COLOURS[FAMILIES.index(family)]
    else:
        # Moving averages: the darker, the faster.
        style, colour = "--", str(0.1 + 0.7 * (i - first_average()) / len(MOMENTA))
    axes.plot(
        values, style, marker="o", ms=3, color="black" if rule == LAST else colour, label=rule
    )


def first_average() -> int:
    """Return the position of the first moving average among the rules."""
    return len(RULES) - len(MOMENTA) - 1


def _capitals(name: str) -> str:
    return "".join(letter for letter in name if letter.isupper()).rstrip("V")


def synthetic_name(speed: float, changing: bool) -> str:
    """Return the name of synthetic data."""
    return f"drift {speed:g}{' of both' if changing else ''}"


def main(folder: Path) -> None:
    """Measure everything and write the results."""
    torch.set_num_threads(1)
    sources: dict[str, Callable[[int], list[list[Batch]]]] = {
        synthetic_name(speed, changing): lambda seed, s=speed, c=changing: [  # type: ignore[misc]
            list(synthetic(s, c, seed))
        ]
        for changing in (False, True)
        for speed in SPEEDS
    }
    for env in ("Pendulum-v1", "InvertedDoublePendulum-v4"):
        sources[env] = lambda seed, e=env: record(e, seed)  # type: ignore[misc]
    absolute = measure(sources)
    folder.mkdir(parents=True, exist_ok=True)
    absolute.to_csv(folder / "errors.csv", index=False, float_format="%.5g")
    errors = relative(absolute)
    drifts, both = errors.data.str.startswith("drift"), errors.data.str.endswith("both")
    tables = [
        f"Errors of the {word}, in shares of the last batch's\n\n"
        + as_markdown(errors[chosen], name)
        for name, word, chosen in (
            ("mean", "mean", drifts & ~both),
            ("sd", "standard deviation", both),
            ("mean", "mean", ~drifts),
            ("sd", "standard deviation", ~drifts),
        )
    ]
    (folder / "table.md").write_text("\n".join(tables))
    draw(errors, folder / "errors.png")
    facts = collect("auto", 1, SEEDS[0])
    (folder / "provenance.json").write_text(json.dumps(facts | {"seeds": SEEDS}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TOP / "results" / "confidence")
