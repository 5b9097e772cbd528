from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from ccar.evidence.significance import MAX_EXACT_SEEDS, hedges_g, holm, more_seeds_to_settle, sign_flip_p, t_test_p

# Student (Biometrika 6, 1908), the additional hours of sleep by two drugs in ten patients; R's `sleep`.
SLEEP = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]) - np.array(
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
)


def moments(values):
    return np.array([values.mean()]), np.array([values.std(ddof=1)]), np.array([len(values)])


def test_the_p_value_of_student_s_sleep_data_is_the_published_one():
    # R: t.test(extra ~ group, data = sleep, paired = TRUE) prints t = 4.0621, df = 9, p-value = 0.002833
    assert t_test_p(*moments(SLEEP)) == pytest.approx([0.002833], abs=5e-7)


@pytest.mark.parametrize("n", [3, 5, 12])
def test_the_p_value_is_that_of_scipy_s_paired_t_test(n):
    a, b = np.random.default_rng(n).normal(0.5, 0.02, (2, n))
    assert t_test_p(*moments(a - b)) == pytest.approx([stats.ttest_rel(a, b).pvalue])


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([0.1, 0.2], math.nan), ([0.1, 0.1, 0.1], math.nan), ([0.0, 0.0, 0.0], 1.0)],
)
def test_without_spread_or_seeds_there_is_no_p_value_unless_all_are_zero(differences, expected):
    assert t_test_p(*moments(np.array(differences))) == pytest.approx([expected], nan_ok=True)


def test_holm_s_correction_is_the_published_step_down():
    # Holm: multiply the sorted p by m, m - 1, ..., never below an earlier one. R: p.adjust(p, "holm").
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_s_correction_is_that_of_statsmodels_with_ties_and_many():
    p = np.random.default_rng(0).choice([0.001, 0.01, 0.02, 0.3, 1.0], 60)
    assert holm(p).tolist() == multipletests(p, method="holm")[1].tolist()


def test_a_comparison_that_could_not_be_made_does_not_count():
    corrected = holm(np.array([0.02, math.nan, 0.04]))
    assert corrected == pytest.approx([0.04, math.nan, 0.04], nan_ok=True)
    assert holm(np.array([])).size == 0


@pytest.mark.parametrize("n", [3, 5, 10, MAX_EXACT_SEEDS])
def test_the_sign_flip_p_is_the_share_of_all_sign_patterns_at_least_as_extreme(n):
    differences = np.random.default_rng(n).normal(0.5, 1.0, n)
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=n)]
    expected = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-12)
    assert sign_flip_p(differences[None]) == pytest.approx([expected])


def test_sign_flips_of_few_seeds_cannot_be_significant():
    same_sign = np.array([[0.1, 0.2, 0.3, np.nan, np.nan], [0.1, 0.2, 0.3, 0.4, 0.5]])
    assert sign_flip_p(same_sign).tolist() == [0.25, 0.0625]


def test_two_seeds_and_more_than_can_be_enumerated_have_no_exact_p():
    values = np.full((2, 14), np.nan)
    values[0, :2], values[1] = 0.1, 0.1
    assert np.isnan(sign_flip_p(values)).all()


def test_hedges_factor_is_the_published_one():
    # Hedges (1981), table 1: the factor for 4 degrees of freedom is 0.7979, for 9 it is 0.9139.
    assert hedges_g(np.array([1.0, 1.0]), np.array([1.0, 1.0]), np.array([5, 10])) == pytest.approx(
        [0.7979, 0.9139], abs=1e-4
    )


def test_hedges_effect_is_unbiased_for_few_seeds():
    samples = np.random.default_rng(0).normal(2.0, 1.0, (40_000, 5))
    g = hedges_g(samples.mean(axis=1), samples.std(axis=1, ddof=1), np.full(len(samples), 5))
    assert g.mean() == pytest.approx(2.0, abs=0.03)


def test_so_many_more_seeds_have_eighty_per_cent_power_and_one_less_has_not():
    for effect in (0.8, 1.0, 2.0):
        (more,) = more_seeds_to_settle(np.array([effect]), np.array([3]), 1)
        power = TTestPower()
        assert power.power(effect, 3 + more, 0.05) >= 0.8 > power.power(effect, 2 + more, 0.05)


def test_more_comparisons_need_more_seeds_and_a_sign_changes_nothing():
    n = np.array([5])
    assert more_seeds_to_settle(np.array([-1.0]), n, 20) > more_seeds_to_settle(np.array([1.0]), n, 1)


def test_who_has_seeds_needs_fewer_more():
    assert more_seeds_to_settle(np.array([1.0, 1.0]), np.array([3, 8]), 4).tolist() == [12, 7]


def test_no_effect_needs_more_seeds_than_anybody_has():
    more = more_seeds_to_settle(np.array([0.0, math.nan]), np.array([5, 0]), 4)
    assert more.tolist() == pytest.approx([math.inf, math.nan], nan_ok=True)
