from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ccar.evidence.intervals import bca_interval, by_count, t_half_width


def test_the_half_width_is_that_of_scipy_s_t_interval():
    values = np.random.default_rng(0).normal(0.5, 0.02, 6)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_half_width(values.std(ddof=1), 6) == pytest.approx((expected.high - expected.low) / 2)


@pytest.mark.parametrize(("sd", "n"), [(math.nan, 1), (0.0, 5), (math.nan, 0)])
def test_one_number_or_equal_numbers_have_no_interval(sd, n):
    assert np.isnan(t_half_width(sd, n))


def test_ninety_five_of_a_hundred_t_intervals_cover_the_true_difference():
    samples = np.random.default_rng(1).normal(0.3, 1.0, (4000, 5))
    half_width = t_half_width(samples.std(axis=1, ddof=1), np.full(4000, 5))
    assert np.mean(np.abs(samples.mean(axis=1) - 0.3) <= half_width) == pytest.approx(0.95, abs=0.01)


def test_the_bootstrap_interval_is_that_of_scipy_for_each_row_by_itself():
    values = np.random.default_rng(2).normal(0.01, 0.02, (3, 6))
    values[1, 4] = np.nan
    low, high = bca_interval(values)
    for row, ends in zip(values, zip(low, high, strict=True), strict=True):
        alone = stats.bootstrap(
            (row[~np.isnan(row)],), np.mean, n_resamples=2000, batch=100, rng=np.random.default_rng(0)
        )
        assert ends == pytest.approx(tuple(alone.confidence_interval))


def test_two_values_and_equal_values_have_no_bootstrap_interval():
    low, high = bca_interval(np.array([[0.1, 0.2, np.nan], [0.1, 0.1, 0.1], [0.1, 0.2, 0.4]]))
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [True, True, False]


def test_the_stated_coverage_of_the_bootstrap_is_what_it_has():
    samples = np.random.default_rng(3).normal(size=(1500, 5))
    low, high = bca_interval(samples)
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(0.84, abs=0.03)


def test_rows_are_sorted_by_how_many_numbers_they_have():
    groups = by_count(np.array([[1, 2, 3], [np.nan, 5, 6], [7, np.nan, np.nan]]), at_least=2)
    assert [(rows.tolist(), values.tolist()) for rows, values in groups] == [([1], [[5, 6]]), ([0], [[1, 2, 3]])]
