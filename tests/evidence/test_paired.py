from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ccar.evidence.paired import paired_differences, t_interval, verdict


def trials(values, status="finished"):
    """A frame of {cell: {seed: value}}."""
    rows = [
        {"cell": cell, "seed": seed, "status": status, "accuracy": value}
        for cell, seeds in values.items()
        for seed, value in seeds.items()
    ]
    return pd.DataFrame(rows)


def test_differences_equal_a_paired_t_test_of_scipy():
    random = np.random.default_rng(0)
    a, b = random.normal(0.50, 0.02, 6), random.normal(0.48, 0.02, 6)
    frame = trials({"a": dict(enumerate(a)), "b": dict(enumerate(b))})
    found = paired_differences(frame, "accuracy", {"a": "b"}).loc["a"]
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))
    assert found["mean"] == pytest.approx(np.mean(a - b))
    assert found["sd"] == pytest.approx(np.std(a - b, ddof=1))
    assert found["n"] == 6


def test_only_seeds_that_both_have_are_compared():
    frame = trials({"a": {0: 0.5, 1: 0.6, 7: 0.9}, "b": {1: 0.5, 0: 0.3}})
    found = paired_differences(frame, "accuracy", {"a": "b"}).loc["a"]
    assert (found["n"], found["mean"]) == (2, pytest.approx(0.15))


def test_trials_that_did_not_finish_and_missing_numbers_are_left_out():
    frame = trials({"a": {0: 0.5, 1: 0.6, 2: math.nan}, "b": {0: 0.4, 1: 0.4, 2: 0.4}})
    frame.loc[0, "status"] = "diverged"
    assert paired_differences(frame, "accuracy", {"a": "b"}).loc["a", "n"] == 1


def test_a_cell_that_shares_no_seed_has_no_difference():
    found = paired_differences(trials({"a": {0: 0.5}, "b": {1: 0.4}}), "accuracy", {"a": "b"}).loc["a"]
    assert (found["n"], found["verdict"]) == (0, "too few seeds to tell")
    assert math.isnan(found["mean"])


def test_nothing_to_compare_gives_an_empty_frame():
    assert paired_differences(trials({"a": {0: 0.5}}), "accuracy", {}).empty


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([0.010, 0.012, 0.011], "better"),
        ([-0.010, -0.012, -0.011], "worse"),
        ([0.010, -0.012, 0.004], "within noise"),
        ([0.010, 0.012], "too few seeds to tell"),
        ([0.0, 0.0, 0.0], "within noise"),
        ([0.010, 0.010, 0.010], "too few seeds to tell"),  # no spread seen is not a spread of zero
    ],
)
def test_the_verdict_says_what_the_interval_says(differences, expected):
    mean, sd, n = np.mean(differences), np.std(differences, ddof=1), len(differences)
    low, high = t_interval(mean, sd, n)
    assert verdict(float(mean), float(low), float(high), n) == expected


def test_one_difference_has_no_interval():
    assert np.isnan(t_interval(0.1, math.nan, 1)).all()


def test_ninety_five_of_a_hundred_intervals_cover_the_true_difference():
    random = np.random.default_rng(1)
    samples = random.normal(0.3, 1.0, (4000, 5))
    low, high = t_interval(samples.mean(axis=1), samples.std(axis=1, ddof=1), np.full(4000, 5))
    covered = np.mean((low <= 0.3) & (high >= 0.3))
    assert covered == pytest.approx(0.95, abs=0.01)
