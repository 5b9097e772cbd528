from __future__ import annotations

import numpy as np
import pytest

from ccar.evidence.cells import summarise_cells
from ccar.evidence.optimism import optimism
from ccar.evidence.selection import (
    CRITERION,
    ValidationFrame,
    candidates,
    select_omega,
    select_without_each_seed,
)
from ccar.evidence.test_results import with_test_results
from tests.evidence.made_up_study import made_up_study

METHODS = {"bases": ["cross_entropy"], "reweighting": {"omega": [0.25, 0.5]}}
QUARTER, HALF = "cross_entropy+ccar(omega=0.25)", "cross_entropy+ccar(omega=0.5)"


def optimism_of(validation, accuracies, seeds=(0, 1, 2), ended=()):
    """Of a study with one base loss and two omegas.

    Both of the first arguments: method to one value per seed, or to one for all. `ended`: (method, seed, status) each.
    """
    study = made_up_study(methods=METHODS, seeds=seeds)
    for method, seed, status in ended:
        study = study.ended(study.keys(method)[seed], status, "")
    frame, tests = study.validation, study.test_results.set_index("key")
    for method, values in validation.items():
        frame.loc[frame["method"] == method, CRITERION] = values
    for method, values in accuracies.items():
        keys = frame.loc[(frame["method"] == method) & (frame["status"] == "finished"), "key"]
        tests.loc[keys, "test_balanced_accuracy"] = values
    frame = ValidationFrame(frame)
    trials = with_test_results(frame, tests.reset_index())
    cells = summarise_cells(trials, "cross_entropy")
    return optimism(select_omega(frame), select_without_each_seed(frame), candidates(frame), trials, cells)


def test_optimism_is_what_the_best_test_accuracy_has_on_top_of_the_honest_choice():
    row = optimism_of(
        {QUARTER: [0.6, 0.6, 0.6], HALF: [0.7, 0.7, 0.7]},
        {"cross_entropy": [0.5, 0.5, 0.5], QUARTER: [0.56, 0.55, 0.54], HALF: [0.51, 0.52, 0.53]},
    ).iloc[0]
    assert (row["omega"], row["picked_omega"]) == (0.5, 0.25)
    assert row[["gain", "optimism", "mean", "picked_mean"]].tolist() == pytest.approx([0.02, 0.03, 0.52, 0.55])


def test_a_choice_that_is_also_best_on_the_test_set_has_no_optimism():
    row = optimism_of({HALF: [0.9, 0.9, 0.9]}, {QUARTER: [0.5] * 3, HALF: [0.6] * 3}).iloc[0]
    assert row["optimism"] == 0
    assert row["left_out_same"] == 1


def test_a_choice_that_rests_on_a_tie_is_not_called_the_same_without_a_seed():
    row = optimism_of({QUARTER: [0.5] * 3, HALF: [0.5] * 3}, {QUARTER: [0.5] * 3, HALF: [0.5] * 3}).iloc[0]
    assert row["omega"] == 0.25
    assert np.isnan(row["left_out_same"])
    assert not np.isnan(row["left_out_gain"])


def test_each_seed_is_tested_with_the_omega_that_the_others_choose():
    row = optimism_of(
        {QUARTER: [0.6, 0.6, 0.6], HALF: [0.3, 0.5, 0.99]},  # without seed 2, a quarter wins
        {"cross_entropy": [0.5, 0.5, 0.5], QUARTER: [0.50, 0.50, 0.50], HALF: [0.60, 0.60, 0.60]},
    ).iloc[0]
    assert row["omega"] == 0.25
    assert row["left_out_same"] == pytest.approx(1 / 3)
    assert row["left_out_gain"] == pytest.approx((0.1 + 0.1 + 0.0) / 3)


def test_luck_that_choice_and_test_share_flatters_the_gain_and_not_the_one_without_its_seed():
    luck = {QUARTER: [0.6, 0.5, 0.5], HALF: [0.5, 0.5, 0.55]}  # of the trained weights: validation and test alike
    row = optimism_of(luck, {"cross_entropy": [0.5, 0.5, 0.5], **luck}).iloc[0]
    assert row["gain"] == pytest.approx(0.1 / 3)
    assert row["left_out_gain"] == pytest.approx(0.0)


def test_one_seed_has_an_optimism_but_no_choice_without_it():
    row = optimism_of({HALF: [0.9]}, {QUARTER: [0.6], HALF: [0.5]}, seeds=(0,)).iloc[0]
    assert row["optimism"] == pytest.approx(0.1)
    assert np.isnan(row["left_out_gain"])


def test_a_cell_that_was_no_candidate_is_not_picked_on_the_test_set_either():
    survivor = [(QUARTER, 0, "stopped"), (HALF, 0, "failed"), (HALF, 1, "failed")]
    row = optimism_of({}, {QUARTER: 0.9, HALF: 0.5}, ended=survivor).iloc[0]
    assert (row["omega"], row["picked_omega"], row["optimism"]) == (0.5, 0.5, 0.0)
