"""Statistics of a comparison: one row per group and environment, and one per group over all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from snnrl.analysis.bootstrap import (
    Interval,
    average_performance_gain,
    interquartile_mean,
    interval,
    probability_of_improvement,
)
from snnrl.analysis.grouping import Groups, by_environment
from snnrl.analysis.published import Published, published_beside
from snnrl.analysis.runs import Run
from snnrl.analysis.statistics import (
    METRICS,
    Estimate,
    Floats,
    maximum_of_mean,
    mean_interval,
    mean_returns,
)

Returns = Mapping[str, Mapping[str, Mapping[str, Floats]]]
"""``{metric: {environment: {group: [seeds]}}}``, of the runs that have a result."""


@dataclass(frozen=True)
class Row:
    """One group in one environment.

    :param seeds: of the runs that enter the estimates
    :param failed: number of runs that failed; they do not enter
    :param unfinished: number of runs that are not done; they enter as far as they were evaluated
    :param steps: environment steps that the runs reached, each number once
    :param estimates: means over seeds, by the keys of ``METRICS`` and ``max_of_mean``
    :param iqm: interquartile means, by the keys of ``METRICS``
    :param improvement: probabilities of improvement over the baseline; empty for the baseline
        itself and where it has no result
    :param published: the published numbers of the same setting
    """

    environment: str
    group: str
    seeds: list[int]
    failed: int
    unfinished: int
    steps: list[int]
    estimates: dict[str, Estimate]
    iqm: dict[str, Interval]
    improvement: dict[str, Interval]
    published: list[Published]


@dataclass(frozen=True)
class Overall:
    """One group compared with the baseline, over the environments in which both have results.

    :param environments: the environments
    :param positive: those of them where the baseline's mean return is positive, of every metric
    :param improvement: mean probability of improvement over ``environments``, by metric
    :param iqm: over ``positive``, of returns divided by the baseline's mean return there, which the
        bootstrap holds fixed; empty if there is none
    :param gain: average performance gain in per cent over ``positive``; empty if there is none
    """

    group: str
    environments: list[str]
    positive: list[str]
    improvement: dict[str, Interval]
    iqm: dict[str, Interval]
    gain: dict[str, Interval]


def make_table(groups: Groups, baseline: str | None = None) -> list[Row]:
    """Return one row per group and environment, ordered by environment."""
    returns = returns_of(groups)
    return [
        _make_row(environment, name, runs, returns, baseline)
        for environment, cells in by_environment(groups).items()
        for name, runs in cells.items()
    ]


def make_overall(groups: Groups, baseline: str) -> list[Overall]:
    """Return one row per group that shares an environment with the baseline, without the
    baseline."""
    returns = returns_of(groups)
    shared = {
        name: [
            environment
            for environment, cells in returns["final"].items()
            if name in cells and baseline in cells
        ]
        for name in groups
        if name != baseline
    }
    return [
        _make_overall(name, environments, returns, baseline)
        for name, environments in shared.items()
        if environments
    ]


def returns_of(groups: Groups) -> Returns:
    """Return each seed's return, by metric, environment and group."""
    curves = {
        environment: {
            name: [mean_returns(run.evaluations) for run in results(runs)]
            for name, runs in cells.items()
        }
        for environment, cells in by_environment(groups).items()
    }
    return {
        metric: {
            environment: {
                name: np.array([measure(curve) for curve in seeds])
                for name, seeds in cells.items()
                if seeds
            }
            for environment, cells in curves.items()
        }
        for metric, measure in METRICS.items()
    }


def results(runs: Iterable[Run]) -> list[Run]:
    """Return the runs that enter the statistics."""
    return [run for run in runs if run.has_result]


def _make_row(
    environment: str, name: str, runs: Sequence[Run], returns: Returns, baseline: str | None
) -> Row:
    entering = results(runs)
    cells = {metric: returns[metric][environment] for metric in METRICS}
    scores = {metric: cell[name] for metric, cell in cells.items() if name in cell}
    compared = [] if name == baseline else [m for m in scores if baseline in cells[m]]
    curves = [mean_returns(run.evaluations) for run in entering]
    return Row(
        environment,
        name,
        sorted(run.seed for run in entering),
        sum(run.status == "failed" for run in runs),
        sum(run.status == "unfinished" for run in runs),
        sorted({run.steps for run in entering}),
        {
            **{metric: mean_interval(scores.get(metric, [])) for metric in METRICS},
            "max_of_mean": maximum_of_mean(curves),
        },
        {metric: interval(interquartile_mean, [values]) for metric, values in scores.items()},
        {
            metric: interval(
                probability_of_improvement, [scores[metric]], [cells[metric][str(baseline)]]
            )
            for metric in compared
        },
        published_beside(environment, entering),
    )


def _make_overall(name: str, environments: list[str], returns: Returns, baseline: str) -> Overall:
    positive = [
        environment
        for environment in environments
        if all(returns[metric][environment][baseline].mean() > 0 for metric in METRICS)
    ]
    improvement: dict[str, Interval] = {}
    iqm: dict[str, Interval] = {}
    gain: dict[str, Interval] = {}
    for metric in METRICS:
        cells = returns[metric]
        improvement[metric] = interval(
            probability_of_improvement,
            [cells[environment][name] for environment in environments],
            [cells[environment][baseline] for environment in environments],
        )
        if not positive:
            continue
        ours = [cells[environment][name] for environment in positive]
        theirs = [cells[environment][baseline] for environment in positive]
        normalised = [x / y.mean() for x, y in zip(ours, theirs, strict=True)]
        iqm[metric] = interval(interquartile_mean, normalised)
        gain[metric] = _gain(ours, theirs)
    return Overall(name, environments, positive, improvement, iqm, gain)


def _gain(ours: Sequence[Floats], theirs: Sequence[Floats]) -> Interval:
    if all((seeds > 0).all() for seeds in theirs):
        return interval(average_performance_gain, ours, theirs)
    # A resample of the baseline could have a mean of zero or less, and a meaningless gain.
    return Interval(float(average_performance_gain(ours, theirs)), float("nan"), float("nan"))
