"""The numbers of a run and of a group of seeds. Every definition stands in a docstring here.

A *curve* is the mean return of each evaluation over training: a Series indexed by environment
steps, the untrained agent at step 0 included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
LAST = 10
RESAMPLES = 10_000


class Estimate(NamedTuple):
    """A mean, the sample deviation (n - 1), and the 95 % interval of the mean.

    What cannot be had is NaN: deviation and interval of one value, or all of none.
    """

    mean: float
    sd: float
    low: float
    high: float


def mean_returns(evaluations: pd.DataFrame) -> pd.Series:
    """The curve of a run: its return at each evaluation, averaged over the episodes."""
    return evaluations.groupby("timesteps")["return"].mean()


def final_return(curve: pd.Series) -> float:
    """The mean return of the last evaluation."""
    return float(curve.iloc[-1])


def last_return(curve: pd.Series) -> float:
    """The mean over the last 10 evaluations, or over all where there are fewer."""
    return float(curve.iloc[-LAST:].mean())


def maximum_return(curve: pd.Series) -> float:
    """The largest mean return of any evaluation. Biased upwards: a maximum over noise."""
    return float(curve.max())


def mean_interval(values: ArrayLike) -> Estimate:
    """Mean of independent values, such as the episodes of one agent, with Student's t interval.

    It takes the values' mean as normally distributed, which suits tens of episodes; for a
    handful of seeds see :func:`bootstrap_interval`. One value has no deviation and no interval.

    :param values: ``[n]``, n >= 1
    """
    sample = np.asarray(values, dtype=float)
    mean, sd = _mean_and_deviation(sample)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, max(sample.size - 1, 1)) * sd / np.sqrt(sample.size)
    return Estimate(mean, sd, float(mean - half), float(mean + half))


def bootstrap_interval(values: ArrayLike) -> Estimate:
    """Mean over seeds with the percentile bootstrap interval: the 2.5th and 97.5th percentile of
    the means of 10,000 resamples of the seeds, drawn with a fixed generator.

    With few seeds it is narrower than the truth (three seeds: covers about 75 %, not 95 %).
    One seed has no deviation and no interval.

    :param values: ``[seeds]``
    """
    sample = np.asarray(values, dtype=float)
    low, high = bootstrap_band(sample[:, None])
    return Estimate(*_mean_and_deviation(sample), float(low[0]), float(high[0]))


def bootstrap_band(curves: Floats) -> tuple[Floats, Floats]:
    """The interval of :func:`bootstrap_interval` at each point of a mean curve (pointwise).

    :param curves: ``[seeds, points]``
    :returns: low and high, ``[points]`` each; NaN for fewer than two seeds
    """
    return _percentiles(curves, lambda means: means)


def mean_of_maxima(curves: Sequence[pd.Series]) -> Estimate:
    """First reading of a published "maximum average return": each seed's maximum over its own
    training, then the mean over seeds. Never below :func:`maximum_of_mean`."""
    return bootstrap_interval([maximum_return(curve) for curve in curves])


def maximum_of_mean(curves: Sequence[pd.Series]) -> Estimate:
    """Second reading: the mean over seeds at each common step, then the maximum of that curve.

    The interval resamples whole seeds and takes each resample's own maximum. It has no deviation
    over seeds, since no single seed has such a value (NaN). No common step: all NaN.
    """
    matrix = common_steps(curves).to_numpy().T
    if matrix.size == 0:
        return Estimate(*[float("nan")] * 4)
    low, high = _percentiles(matrix, lambda means: means.max(axis=1, keepdims=True))
    return Estimate(float(matrix.mean(axis=0).max()), float("nan"), float(low[0]), float(high[0]))


def common_steps(curves: Sequence[pd.Series]) -> pd.DataFrame:
    """The curves side by side, ``[steps, seeds]``, at the steps that all of them have."""
    if not curves:
        return pd.DataFrame()
    return pd.concat(list(curves), axis=1, join="inner").sort_index()


def _mean_and_deviation(sample: Floats) -> tuple[float, float]:
    if sample.size == 0:
        return float("nan"), float("nan")
    sd = float(sample.std(ddof=1)) if sample.size > 1 else float("nan")
    return float(sample.mean()), sd


def _percentiles(curves: Floats, statistic: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
    """Percentile interval of a statistic of resampled mean curves ``[resamples, points]``."""
    seeds = len(curves)
    if seeds < 2:
        nothing = np.full(curves.shape[1], np.nan)
        return nothing, nothing
    # How often each seed is drawn says all about a resample's mean.
    draws = np.random.default_rng(0).multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(statistic(draws @ curves / seeds), [tail, 1 - tail], axis=0)
    return low, high
