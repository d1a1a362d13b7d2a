from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnrl.analysis.bootstrap import (
    average_performance_gain,
    interquartile_mean,
    interval,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
)

RLIABLE = json.loads((Path(__file__).parents[1] / "data" / "rliable.json").read_text())

# The ends are percentiles of two independent sets of resamples, of 20,000 and of 10,000, and of
# a statistic that takes few values where there are few seeds: they may be a step of it apart.
ENDS = 0.03


def strata(scores: list[list[float]]) -> list[np.ndarray]:
    """``[runs, tasks]`` -> one array a task."""
    return list(np.array(scores).T)


@pytest.mark.parametrize("case", RLIABLE, ids=lambda case: f"{len(case['scores'])}-runs")
def test_interquartile_mean_agrees_with_rliable(case: dict[str, Any]) -> None:
    value, low, high = interval(interquartile_mean, strata(case["scores"]))
    assert value == pytest.approx(case["iqm"][0], abs=1e-12)
    assert (low, high) == pytest.approx(case["iqm"][1:], abs=ENDS)


@pytest.mark.parametrize("case", RLIABLE, ids=lambda case: f"{len(case['scores'])}-runs")
def test_probability_of_improvement_agrees_with_rliable(case: dict[str, Any]) -> None:
    samples = strata(case["scores"]), strata(case["baseline"])
    value, low, high = interval(probability_of_improvement, *samples)
    theirs = case["probability_of_improvement"]
    assert value == pytest.approx(theirs[0], abs=1e-12)
    assert (low, high) == pytest.approx(theirs[1:], abs=ENDS)


@pytest.mark.parametrize("case", RLIABLE, ids=lambda case: f"{len(case['scores'])}-runs")
def test_performance_profile_agrees_with_rliable(case: dict[str, Any]) -> None:
    ours = stratified_bootstrap(performance_profile(case["taus"]), strata(case["scores"]))
    value, low, high = map(np.array, case["profile"])
    assert ours[0] == pytest.approx(value, abs=1e-12)
    # A share is a multiple of one run: at a jump the percentile may fall on either side of it.
    run = 1.001 / np.size(case["scores"])
    assert ours[1] == pytest.approx(low, abs=run)
    assert ours[2] == pytest.approx(high, abs=run)


def test_interquartile_mean_leaves_out_a_quarter_on_each_side() -> None:
    assert interquartile_mean([np.array([1.0, 2.0, 3.0, 400.0])]) == 2.5
    assert interquartile_mean([np.array([-900.0, 2.0]), np.array([4.0, 900.0])]) == 3
    # A quarter of three is none.
    assert interquartile_mean([np.array([1.0, 2.0, 6.0])]) == 3


def test_probability_of_improvement_counts_ties_half() -> None:
    ours, theirs = np.array([1.0, 2.0]), np.array([1.0, 0.0, 3.0])
    assert probability_of_improvement([ours], [theirs]) == pytest.approx((1.5 + 2) / 6)
    assert probability_of_improvement([ours], [ours]) == 0.5


def test_probability_of_improvement_weighs_environments_alike() -> None:
    better, worse = [np.array([2.0] * 9), np.array([0.0])], [np.array([1.0]), np.array([1.0] * 9)]
    assert probability_of_improvement(better, worse) == 0.5


def test_average_performance_gain_is_that_of_the_published_table() -> None:
    """CaRe-BN's and tdBN's rows beside the ordinary actor's (arXiv 2509.23791)."""
    ann = [np.array([value]) for value in (7503.0, 4770.0, 10857.0, 3410.0, 4340.0)]
    carebn = [np.array([value]) for value in (9348.0, 5373.0, 9563.0, 3586.0, 4296.0)]
    tdbn = [np.array([value]) for value in (9346.0, 4403.0, 9402.0, 3592.0, 3464.0)]
    assert average_performance_gain(carebn, ann) == pytest.approx(5.90, abs=0.01)
    assert average_performance_gain(tdbn, ann) == pytest.approx(-2.28, abs=0.01)


def test_interval_of_a_gain_counts_the_baselines_seeds_too() -> None:
    sure, unsure = np.array([10.0, 10.0, 10.0]), np.array([5.0, 10.0, 15.0])
    value, low, high = interval(average_performance_gain, [sure], [unsure])
    assert value == 0
    assert low < -10
    assert high > 10


def test_the_same_resamples_every_time() -> None:
    scores = [np.random.default_rng(0).normal(size=20)]
    assert interval(interquartile_mean, scores) == interval(interquartile_mean, scores)
    first = stratified_bootstrap(interquartile_mean, scores, resamples=50, seed=1)
    other = stratified_bootstrap(interquartile_mean, scores, resamples=50, seed=2)
    assert first != other


def test_resamples_stay_within_an_environment() -> None:
    """Drawn across environments, the share of the large scores would vary."""
    scores = [np.zeros(5), np.full(5, 100.0)]
    _, low, high = stratified_bootstrap(lambda x: np.concatenate(x, -1).mean(-1), scores)
    assert (low, high) == (50, 50)


@pytest.mark.parametrize("scores", [[[1.0]], [[1.0, 2.0], [3.0]]])
def test_no_interval_where_an_environment_has_one_seed(scores: list[list[float]]) -> None:
    value, low, high = interval(interquartile_mean, [np.array(x) for x in scores])
    assert math.isfinite(value)
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize(("seeds", "covered"), [(3, 0.75), (5, 0.90), (10, 0.94)])
def test_coverage_of_an_interquartile_mean_is_what_the_warning_says(
    seeds: int, covered: float
) -> None:
    generator = np.random.default_rng(seeds)
    inside = []
    for _ in range(800):
        sample = [generator.normal(size=seeds)]
        seed = int(generator.integers(10**9))
        _, low, high = stratified_bootstrap(interquartile_mean, sample, resamples=500, seed=seed)
        inside.append(low < 0 < high)
    assert np.mean(inside) == pytest.approx(covered, abs=0.04)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("seeds", "covered"), [(3, 0.80), (5, 0.90), (10, 0.94)])
def test_coverage_of_a_probability_of_improvement_is_what_the_warning_says(
    seeds: int, covered: float
) -> None:
    generator = np.random.default_rng(seeds)
    inside = []
    for _ in range(800):
        samples = [[generator.normal(size=seeds)] for _ in range(2)]
        seed = int(generator.integers(10**9))
        _, low, high = stratified_bootstrap(
            probability_of_improvement, *samples, resamples=500, seed=seed
        )
        inside.append(low <= 0.5 <= high)
    assert np.mean(inside) == pytest.approx(covered, abs=0.04)
