"""What the verdicts of whole studies are worth, by simulation: omega chosen on validation, then judged."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from ccar.evidence.intervals import t_half_width
from ccar.evidence.paired import compare, moments
from ccar.evidence.significance import NOT_JUDGED, holm, judge, t_test_p, verdicts

STUDIES, BASES, OMEGAS = 1000, 4, 5


@pytest.fixture(autouse=True)
def garbage_is_not_collected():
    """statsmodels collects garbage at every call, which takes 50 ms where torch and the like are loaded."""
    gc.freeze()
    yield
    gc.unfreeze()


def studies(num_seeds, shared_luck, effect=0.0):
    """(validation, differences), (STUDIES, BASES, OMEGAS, num_seeds) each, in sds of a paired difference.

    `shared_luck` is the share of a trial's variance that its validation and test results have in common, because they
    are those of the same weights: with 0 choosing cannot flatter, with 1 it flatters most. `effect` is what every omega
    gains over its plain base loss.
    """
    random = np.random.default_rng(0)

    def normal(*shape):
        return random.standard_normal((STUDIES, *shape, num_seeds)) / np.sqrt(2)

    weights = normal(BASES, OMEGAS + 1)  # the plain base loss comes first
    own, common = np.sqrt(1 - shared_luck), np.sqrt(shared_luck)
    of_seed = 3 * normal(1, 1)  # a seed's subset and split shift all methods alike
    test = of_seed + common * weights + own * normal(BASES, OMEGAS + 1)
    validation = of_seed + common * weights + own * normal(BASES, OMEGAS + 1)
    return validation[:, :, 1:], effect + test[:, :, 1:] - test[:, :, :1]


def verdicts_of_studies(differences):
    """Of each study, (STUDIES, ..., num_seeds), as `compare` finds them, without all that it says beside them."""
    flat = differences.reshape(STUDIES, -1, differences.shape[-1])
    mean, sd, n = flat.mean(axis=-1), flat.std(axis=-1, ddof=1), np.full(flat.shape[:2], flat.shape[-1])
    p_holm = np.array([holm(p) for p in t_test_p(mean, sd, n)])
    return verdicts(mean, t_half_width(sd, n), n, p_holm).reshape(differences.shape[:-1])


def verdicts_of_choices(validation, differences):
    """(STUDIES, BASES) verdicts on the omega with the best validation mean."""
    chosen = validation.mean(axis=-1).argmax(axis=-1)
    return np.take_along_axis(verdicts_of_studies(differences), chosen[..., None], axis=-1)[..., 0]


def test_the_simulation_judges_as_reports_do():
    _, differences = studies(5, 0.5, effect=1.5)
    as_reported = compare(differences[0].reshape(BASES * OMEGAS, -1))["verdict"].tolist()
    assert verdicts_of_studies(differences)[0].ravel().tolist() == as_reported
    assert len(set(as_reported)) > 1


@pytest.mark.parametrize(("num_seeds", "shared_luck"), [(3, 0.5), (5, 0.0), (5, 1.0)])
def test_at_most_one_in_twenty_studies_without_any_effect_says_better_anywhere(num_seeds, shared_luck):
    verdicts = verdicts_of_choices(*studies(num_seeds, shared_luck))
    any_better = (verdicts == "better").any(axis=1).mean()
    any_word = np.isin(verdicts, ["better", "worse"]).any(axis=1).mean()
    monte_carlo_error = 2 * np.sqrt(0.05 * 0.95 / STUDIES)
    assert any_better <= any_word <= 0.05 + monte_carlo_error


def test_a_single_comparison_finds_two_standard_deviations_with_five_seeds_as_often_as_theory_says():
    _, differences = studies(5, 0.5, effect=2.0)
    found = verdicts_of_studies(differences[:, :1, :1])
    expected = TTestPower().power(2.0, 5, 0.05)  # 0.91
    assert np.mean(found == "better") == pytest.approx(expected, abs=3 * np.sqrt(0.09 * 0.91 / STUDIES))


def test_among_twenty_comparisons_one_true_effect_is_found_as_often_as_theory_says():
    _, differences = studies(5, 0.5)
    differences[:, 0, 0] += 2.0
    found = verdicts_of_studies(differences)[:, 0, 0]
    expected = TTestPower().power(2.0, 5, 0.05 / 20)  # 0.24, as the first step of Holm
    assert np.mean(found == "better") == pytest.approx(expected, abs=0.045)


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_intervals_cover_the_true_difference_in_ninety_five_of_a_hundred_cases(num_seeds):
    _, differences = studies(num_seeds, 0.5, effect=0.7)
    found = moments(differences[:, :, 0].reshape(-1, num_seeds))
    covered = ((found["low"] <= 0.7) & (found["high"] >= 0.7)).mean()
    assert covered == pytest.approx(0.95, abs=0.02)


def worse_half_of_each_seed(validation):
    return validation < np.median(validation, axis=(1, 2), keepdims=True)


def all_but_the_best_omega(validation):
    means = validation.mean(axis=-1, keepdims=True)
    return np.broadcast_to(means < means.max(axis=(1, 2), keepdims=True), validation.shape)


def false_alarms(differences, stopped, *, as_survivors):
    """When the stopped trials are missing: shares of studies that say better, and of comparisons that would alone."""
    flat = np.where(stopped, np.nan, differences).reshape(-1, differences.shape[-1])
    survivors = stopped.any(axis=-1).ravel() & as_survivors
    found = moments(flat)
    mean, half_width, n = found["mean"].to_numpy(), (found["high"] - found["mean"]).to_numpy(), found["n"].to_numpy()
    p = t_test_p(mean, found["sd"].to_numpy(), n)
    judged = ~np.isnan(p) & ~survivors
    alone = np.mean((p < 0.05)[judged] & (mean > 0)[judged])
    of_studies = zip(*(each.reshape(STUDIES, -1) for each in (p, mean, half_width, n, survivors)), strict=True)
    words = np.array([judge(*study)[1] for study in of_studies])
    return (words == "better").any(axis=1).mean(), alone


def test_seeds_that_survive_stopping_by_their_luck_would_be_called_better_too_often():
    validation, differences = studies(5, 1.0)
    _, alone = false_alarms(differences, worse_half_of_each_seed(validation), as_survivors=False)
    assert alone > 0.05  # of one-sided tests at 0.025


@pytest.mark.parametrize("rule", [worse_half_of_each_seed, all_but_the_best_omega])
def test_early_stopping_raises_no_false_alarms(rule):
    validation, differences = studies(5, 1.0)
    any_better, _ = false_alarms(differences, rule(validation), as_survivors=True)
    assert any_better <= 0.05


def test_a_lone_survivor_of_stopping_is_judged_among_all_that_were_stopped():
    differences = np.array([[0.010, 0.014, 0.018], *[[np.nan] * 3] * 7])
    assert compare(differences[:1])["verdict"].tolist() == ["better"]
    found = compare(differences, np.array([False, *[True] * 7]))
    assert found["verdict"].tolist() == ["too few seeds to tell", *[NOT_JUDGED] * 7]
