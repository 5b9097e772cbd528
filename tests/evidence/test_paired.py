from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ccar.evidence.paired import compare, paired_differences
from ccar.evidence.significance import NOT_JUDGED


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
        ([0.010], "too few seeds to tell"),
        ([0.0, 0.0, 0.0], "within noise"),
        ([0.010, 0.010, 0.010], "too few seeds to tell"),  # no spread seen is not a spread of zero
    ],
)
def test_a_single_comparison_is_told_by_its_interval(differences, expected):
    assert compare(np.array([differences]))["verdict"].tolist() == [expected]


def test_what_excludes_zero_by_itself_may_be_too_little_among_many():
    alone = [0.010, 0.014, 0.018]
    noise = [[0.010, -0.012, 0.004]] * 7
    assert compare(np.array([alone]))["verdict"][0] == "better"
    among_many = compare(np.array([alone, *noise])).iloc[0]
    assert among_many["low"] > 0
    assert among_many["verdict"] == "too few seeds to tell"
    assert among_many["more_seeds"] == pytest.approx(4, abs=2)


def test_a_comparison_that_is_not_judged_counts_when_it_is_said_how_many_seeds_would_settle_the_others():
    row = [0.02, -0.01, 0.03, 0.01]
    differences = np.array([row] * 6)
    survivors = np.array([False] + [True] * 5)
    found = compare(differences, survivors)
    assert found["more_seeds"][0] == compare(differences)["more_seeds"][0] > compare(differences[:1])["more_seeds"][0]
    assert found["more_seeds"][1:].isna().all()


def test_a_settled_comparison_needs_no_more_seeds_and_the_others_do():
    found = compare(np.array([[0.010, 0.012, 0.011, 0.012], [0.010, -0.012, 0.004, 0.003]]))
    assert np.isnan(found["more_seeds"][0])
    assert found["more_seeds"][1] > 10


@pytest.mark.parametrize(("status", "judged"), [("stopped", False), ("diverged", False), ("failed", True)])
@pytest.mark.parametrize("cell", ["a", "b"])
def test_a_cell_whose_seeds_or_whose_reference_s_seeds_dropped_out_is_not_judged(cell, status, judged):
    frame = trials({"a": {0: 0.51, 1: 0.61, 2: 0.81, 3: 0.5}, "b": {0: 0.40, 1: 0.51, 2: 0.70, 3: 0.4}})
    frame.loc[(frame["cell"] == cell) & (frame["seed"] == 3), "status"] = status
    found = paired_differences(frame, "accuracy", {"a": "b"}).loc["a"]
    assert found["n"] == 3
    assert (found["verdict"] == "better") == judged
    assert (found["verdict"] == NOT_JUDGED) != judged
    assert found[["p", "p_holm", "p_sign_flip"]].isna().tolist() == [not judged] * 3
