from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from snnrl.analysis.statistics import (
    common_steps,
    common_times,
    final_return,
    interval_band,
    last_return,
    maximum_of_mean,
    maximum_return,
    mean_interval,
    mean_returns,
)


def test_numbers_of_a_run() -> None:
    evaluations = pd.DataFrame(
        {"timesteps": [0, 0, 100, 100, 200, 200], "return": [1.0, 3.0, 10.0, 20.0, 4.0, 8.0]}
    )
    curve = mean_returns(evaluations)
    assert curve.to_dict() == {0: 2.0, 100: 15.0, 200: 6.0}
    assert final_return(curve) == 6.0
    assert maximum_return(curve) == 15.0
    assert last_return(curve) == pytest.approx(23 / 3)


def test_last_return_takes_ten_evaluations() -> None:
    curve = pd.Series([1000.0, *range(1, 11)])
    assert last_return(curve) == 5.5


def test_both_readings_of_the_maximum() -> None:
    first = pd.Series({0: 0.0, 100: 10.0, 200: 4.0})
    second = pd.Series({0: 2.0, 100: 0.0, 200: 8.0})
    of_each = mean_interval([maximum_return(curve) for curve in (first, second)])
    assert (of_each.mean, of_each.sd) == (9.0, pytest.approx(math.sqrt(2)))
    assert maximum_of_mean([first, second]).mean == 6.0
    assert all(math.isnan(number) for number in maximum_of_mean([first, second])[1:])


def test_maximum_of_mean_is_over_common_steps() -> None:
    first = pd.Series({0: 1.0, 100: 2.0, 200: 50.0})
    second = pd.Series({0: 1.0, 100: 4.0})
    assert common_steps([first, second]).index.tolist() == [0, 100]
    assert maximum_of_mean([first, second]).mean == 3.0
    assert math.isnan(maximum_of_mean([first, pd.Series({7: 1.0})]).mean)


def test_student_interval() -> None:
    # t(0.975, 4) = 2.7764, sd = sqrt(2.5)
    mean, sd, low, high = mean_interval([1, 2, 3, 4, 5])
    half = 2.7764451 * math.sqrt(2.5) / math.sqrt(5)
    assert [mean, sd, low, high] == pytest.approx([3, math.sqrt(2.5), 3 - half, 3 + half])


def test_the_interval_covers_what_it_says_at_three_seeds() -> None:
    generator = np.random.default_rng(1)
    intervals = [mean_interval(generator.normal(5, 2, size=3)) for _ in range(2000)]
    assert np.mean([low < 5 < high for _, _, low, high in intervals]) == pytest.approx(
        0.95, abs=0.02
    )


def test_band_is_the_interval_at_each_point() -> None:
    curves = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 0.0], [9.0, 3.0]])
    low, high = interval_band(curves)
    for point in range(2):
        assert (low[point], high[point]) == pytest.approx(mean_interval(curves[:, point])[2:])


def test_one_value_has_no_interval() -> None:
    mean, sd, low, high = mean_interval([7.0])
    assert mean == 7.0
    assert all(math.isnan(number) for number in (sd, low, high))


def test_no_seed_has_no_number() -> None:
    assert math.isnan(mean_interval([]).mean)
    assert math.isnan(maximum_of_mean([]).mean)


def test_curves_at_common_times_are_straight_between_their_points() -> None:
    slow = pd.Series({0.0: 0.0, 10.0: 100.0})
    fast = pd.Series({2.0: 50.0, 4.0: 70.0, 6.0: 50.0})
    together = common_times([slow, fast])
    assert (together.index[0], together.index[-1], len(together)) == (2, 6, 200)
    assert np.allclose(together[0], 10 * together.index)
    assert np.allclose(together[1], 70 - 10 * abs(together.index - 4))


def test_one_curve_at_its_own_times() -> None:
    curve = pd.Series({1.0: 5.0, 3.0: 6.0})
    assert common_times([curve])[0].to_dict() == curve.to_dict()


def test_no_common_time_is_empty() -> None:
    assert common_times([pd.Series({0.0: 1.0, 1.0: 2.0}), pd.Series({2.0: 1.0, 3.0: 2.0})]).empty
