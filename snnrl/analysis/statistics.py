"""Statistics of a run and of a group of seeds, each defined in a docstring here.

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
TIMES = 200


class Estimate(NamedTuple):
    """A mean, the sample standard deviation (n - 1), and the 95 % interval of the mean.

    Unavailable values are NaN: standard deviation and interval of one value, or all of none.
    """

    mean: float
    sd: float
    low: float
    high: float


def mean_returns(evaluations: pd.DataFrame) -> pd.Series:
    """Return the curve of a run: its return at each evaluation, averaged over the episodes."""
    return evaluations.groupby("timesteps")["return"].mean()


def final_return(curve: pd.Series) -> float:
    """Return the mean return of the last evaluation."""
    return float(curve.iloc[-1])


def last_return(curve: pd.Series) -> float:
    """Return the mean over the last 10 evaluations, or over all if there are fewer."""
    return float(curve.iloc[-LAST:].mean())


def maximum_return(curve: pd.Series) -> float:
    """Return the largest mean return of any evaluation. Biased upwards: a maximum over noise."""
    return float(curve.max())


METRICS: dict[str, Callable[[pd.Series], float]] = {
    "final": final_return,
    "last_10": last_return,
    "max_of_seeds": maximum_return,
}
"""Metrics of one seed's curve."""


def mean_interval(values: ArrayLike) -> Estimate:
    """Return the mean of independent values, of seeds or of one agent's episodes, with Student's t
    interval.

    The interval is exact for normally distributed values at any number of them, where a percentile
    bootstrap over five seeds covers 84 % instead of 95 %. It is wide for few. One value has no
    standard deviation and no interval.

    :param values: ``[n]``
    """
    sample = np.asarray(values, dtype=float)
    low, high = interval_band(sample[:, None])
    sd = float(sample.std(ddof=1)) if sample.size > 1 else float("nan")
    mean = float(sample.mean()) if sample.size else float("nan")
    return Estimate(mean, sd, float(low[0]), float(high[0]))


def interval_band(curves: Floats) -> tuple[Floats, Floats]:
    """Return the interval of :func:`mean_interval` at each point of a mean curve (pointwise).

    :param curves: ``[seeds, points]``
    :return: low and high, ``[points]`` each; NaN for fewer than two seeds
    """
    seeds = len(curves)
    if seeds < 2:
        nothing = np.full(curves.shape[1], np.nan)
        return nothing, nothing
    mean = curves.mean(axis=0)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, seeds - 1)
    half = quantile * curves.std(axis=0, ddof=1) / np.sqrt(seeds)
    return mean - half, mean + half


def maximum_of_mean(curves: Sequence[pd.Series]) -> Estimate:
    """Return the maximum over common steps of the mean over seeds, one reading of a published
    "maximum average return". The other is the mean of each seed's :func:`maximum_return`, which is
    never below it.

    No single seed has such a value, and resampling seeds makes the curve noisier and its maximum
    larger: it has neither standard deviation nor interval (NaN). Without a common step all values
    are NaN.
    """
    mean = common_steps(curves).mean(axis=1)
    nothing = float("nan")
    return Estimate(float(mean.max()) if len(mean) else nothing, nothing, nothing, nothing)


def common_steps(curves: Sequence[pd.Series]) -> pd.DataFrame:
    """Return the curves as columns, ``[steps, seeds]``, at the steps that all of them have."""
    if not curves:
        return pd.DataFrame()
    return pd.concat(list(curves), axis=1, join="inner").sort_index()


def common_times(curves: Sequence[pd.Series]) -> pd.DataFrame:
    """Return the curves as columns, ``[times, seeds]``, at 200 times of their common span.

    Curves are interpolated linearly. One curve is returned unchanged; without a common span the
    result is empty.

    :param curves: each indexed by time, ascending
    """
    if len(curves) < 2:
        return common_steps(curves)
    start = max(float(curve.index[0]) for curve in curves)
    end = min(float(curve.index[-1]) for curve in curves)
    times = np.linspace(start, end, TIMES) if start < end else np.empty(0)
    columns = [np.interp(times, curve.index, curve) for curve in curves]
    return pd.DataFrame(np.array(columns).T, index=times)
