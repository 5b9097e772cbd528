from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ccar.evidence.best_omega import best_omegas
from ccar.evidence.cells import summarise_cells
from ccar.evidence.selection import CRITERION, best_cells, candidates, select_omega, select_without_each_seed
from ccar.evidence.test_results import with_test_results
from tests.evidence.made_up_study import made_up_study

METHODS = {"bases": ["cross_entropy", "balanced_softmax"], "reweighting": {"omega": [0.25, 0.5, 0.75]}}


@pytest.fixture
def study():
    """Two base losses, plain and with three omegas, at two imbalance factors, three seeds."""
    return made_up_study(methods=METHODS, imbalance_factors=(100, 50))


def with_validation(frame, method, values):
    """The same frame, with other validation accuracies for one method's seeds at the first imbalance factor."""
    rows = frame.index[(frame["method"] == method) & (frame["imbalance_factor"] == "100")]
    changed = frame.copy()
    changed.loc[rows, CRITERION] = values
    return changed


def chosen(frame, family="cross_entropy"):
    choices = select_omega(frame)
    return choices[(choices["family"] == family) & (choices["imbalance_factor"] == "100")].iloc[0]


def joined(validation, tests):
    """The choices with their test results, as a report joins them."""
    choices = select_omega(validation)
    return best_omegas(choices, summarise_cells(with_test_results(validation, tests), "cross_entropy"))


def test_the_highest_mean_validation_balanced_accuracy_wins(study):
    frame = with_validation(study.validation, "cross_entropy+ccar(omega=0.25)", [0.9, 0.8, 0.7])
    choice = chosen(frame)
    assert choice["omega"] == 0.25
    assert choice[f"{CRITERION}_mean"] == pytest.approx(0.8)
    assert (choice["candidates"], choice["left_out"]) == (3, 0)


def test_there_is_one_choice_per_base_loss_and_imbalance_factor(study):
    choices = select_omega(study.validation)
    assert choices[["imbalance_factor", "family"]].values.tolist() == [
        ["100", "cross_entropy"],
        ["100", "balanced_softmax"],
        ["50", "cross_entropy"],
        ["50", "balanced_softmax"],
    ]


def test_a_plain_base_loss_is_no_candidate(study):
    frame = with_validation(study.validation, "cross_entropy", [1.0, 1.0, 1.0])
    assert chosen(frame)["omega"] in (0.25, 0.5, 0.75)


def test_the_other_switches_compete_in_the_same_field():
    methods = {
        "bases": ["cross_entropy"],
        "reweighting": {"omega": [0.5, 0.75], "frequency": ["fraction", "none"]},
    }
    frame = made_up_study(methods=methods).validation
    best = with_validation(frame, "cross_entropy+ccar(omega=0.5, frequency=none)", [0.9, 0.9, 0.9])
    choice = chosen(best)
    assert choice["method"] == "cross_entropy+ccar(omega=0.5, frequency=none)"
    assert choice["candidates"] == 4


def test_a_cell_that_lost_a_seed_cannot_win(study):
    key = study.keys("cross_entropy+ccar(omega=0.25)")[0]
    frame = study.ended(key, "diverged", "nan").validation
    choice = chosen(with_validation(frame, "cross_entropy+ccar(omega=0.25)", [0.9, 0.9, 0.9]))
    assert choice["omega"] != 0.25
    assert (choice["candidates"], choice["left_out"]) == (2, 1)


@pytest.fixture
def survivor():
    """One base loss: omega 0.25 is far ahead in two seeds, its third was stopped; by faults all else has one seed."""
    methods = {"bases": ["cross_entropy"], "reweighting": {"omega": [0.25, 0.5, 0.75]}}
    study = made_up_study(methods=methods)
    broken = study.ended(study.keys("cross_entropy+ccar(omega=0.25)")[0], "stopped", "")
    for rival in ("cross_entropy", "cross_entropy+ccar(omega=0.5)", "cross_entropy+ccar(omega=0.75)"):
        for key in study.keys(rival)[:2]:
            broken = broken.ended(key, "failed", "the machine went away")
    return with_validation(broken.validation, "cross_entropy+ccar(omega=0.25)", [0.9, 0.9, 0.9])


def test_a_survivor_of_early_stopping_is_not_chosen_where_a_whole_rival_has_fewer_seeds(survivor):
    choice = chosen(survivor)
    assert choice["omega"] != 0.25
    assert choice["left_out"] == 1
    assert "if100/cross_entropy+ccar(omega=0.25)" not in candidates(survivor)


def test_a_survivor_of_early_stopping_is_no_best_cell_where_a_whole_rival_has_fewer_seeds(survivor):
    (best,) = best_cells(survivor)["cell"]
    assert best != "if100/cross_entropy+ccar(omega=0.25)"


def test_where_every_candidate_lost_seeds_to_stopping_the_best_of_those_with_most_seeds_is_chosen(study):
    broken = study
    for omega in (0.25, 0.5, 0.75):
        broken = broken.ended(study.keys(f"cross_entropy+ccar(omega={omega})")[omega == 0.5], "stopped", "")
    frame = with_validation(broken.validation, "cross_entropy+ccar(omega=0.25)", [0.9, 0.9, 0.9])
    assert chosen(frame)["omega"] == 0.25


@pytest.mark.parametrize("status", ["stopped", "unfinished", "failed"])
def test_only_finished_trials_speak_for_a_cell(study, status):
    broken = study
    for key in study.keys("cross_entropy+ccar(omega=0.25)"):
        broken = broken.ended(key, status, "")
    frame = with_validation(broken.validation, "cross_entropy+ccar(omega=0.25)", [0.9, 0.9, 0.9])
    assert chosen(frame)["omega"] != 0.25


def test_between_equal_means_the_steadier_cell_wins(study):
    frame = with_validation(study.validation, "cross_entropy+ccar(omega=0.25)", [0.9, 0.8, 0.7])
    frame = with_validation(frame, "cross_entropy+ccar(omega=0.75)", [0.81, 0.80, 0.79])
    assert chosen(frame)["omega"] == 0.75


def test_between_equally_steady_means_the_smaller_omega_wins_whatever_the_order_of_the_sums(study):
    frame = with_validation(study.validation, "cross_entropy+ccar(omega=0.5)", [0.7, 0.2 + 0.6, 0.9])
    frame = with_validation(frame, "cross_entropy+ccar(omega=0.75)", [0.9, 0.8, 0.7])
    assert chosen(frame)["omega"] == 0.5


def test_candidates_with_the_mean_of_the_chosen_one_are_counted_whatever_the_order_of_the_sums(study):
    frame = with_validation(study.validation, "cross_entropy+ccar(omega=0.5)", [0.7, 0.2 + 0.6, 0.9])
    assert chosen(frame)["tied"] == 1
    frame = with_validation(frame, "cross_entropy+ccar(omega=0.75)", [0.9, 0.8, 0.7])
    assert (chosen(frame)["tied"], chosen(frame)["candidates"]) == (2, 3)
    assert chosen(frame, "balanced_softmax")["tied"] == 1


def test_a_cell_that_was_left_out_ties_with_nobody(study):
    frame = study.ended(study.keys("cross_entropy+ccar(omega=0.25)")[0], "diverged", "nan").validation
    frame[CRITERION] = 0.5
    assert (chosen(frame)["tied"], chosen(frame)["candidates"]) == (2, 2)


def test_everything_that_was_chosen_is_named():
    methods = {
        "bases": ["cross_entropy"],
        "reweighting": {"omega": [0.5, 0.75], "frequency": ["fraction", "none"], "phase": ["dual", "inverted_only"]},
    }
    frame = made_up_study(methods=methods).validation
    best = "cross_entropy+ccar(omega=0.5, frequency=none, phase=inverted_only)"
    choice = chosen(with_validation(frame, best, [0.9] * 3))
    assert choice[["omega", "frequency", "phase", "reduction"]].tolist() == [0.5, "none", "inverted_only", "mean"]


def test_a_choice_without_a_seed_is_the_choice_of_a_study_that_lacks_it(study):
    frame = with_validation(study.validation, "cross_entropy+ccar(omega=0.25)", [0.9, 0.0, 0.4])
    left_out = select_without_each_seed(frame)
    own = left_out[(left_out["family"] == "cross_entropy") & (left_out["imbalance_factor"] == "100")]
    assert own["seed"].tolist() == [0, 1, 2]
    assert [cell == "if100/cross_entropy+ccar(omega=0.25)" for cell in own["cell"]] == [False, True, False]


def test_with_one_seed_there_is_no_choice_without_it():
    assert select_without_each_seed(made_up_study(seeds=(0,)).validation).empty


def test_without_a_validation_part_nothing_is_chosen():
    study = made_up_study(validation_per_class=0)
    assert select_omega(study.validation).empty
    assert joined(study.validation, study.test_results).empty


def test_a_frame_with_test_results_is_refused(study):
    with pytest.raises(ValueError, match="reads validation results only: found the columns test_accuracy"):
        select_omega(with_test_results(study.validation, study.test_results)[["cell", "test_accuracy"]])


def test_scrambling_every_test_result_does_not_change_a_choice(study):
    honest = joined(study.validation, study.test_results)
    scrambled = study.test_results
    numbers = scrambled.columns.drop("key")
    scrambled[numbers] = np.random.default_rng(0).uniform(size=(len(scrambled), len(numbers)))
    other = joined(study.validation, scrambled)
    pd.testing.assert_series_equal(honest["cell"], other["cell"])
    assert not np.allclose(honest["test_accuracy_mean"], other["test_accuracy_mean"])


def test_importing_selection_loads_nothing_that_reads_test_results():
    seen = "import sys, ccar.evidence.selection; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True).stdout.split()
    forbidden = {"ccar.evidence.test_results", "ccar.evidence.best_omega", "ccar.store.trial_store", "torch"}
    assert not forbidden & set(loaded)


def test_test_results_are_joined_to_the_choice_afterwards(study):
    choice = joined(study.validation, study.test_results).iloc[0]
    keys = study.keys(choice["method"])[:3]
    tested = [study.tests[key].last_epoch.accuracy for key in keys]
    plain = [study.tests[key].last_epoch.accuracy for key in study.keys("cross_entropy")[:3]]
    assert choice["test_accuracy_mean"] == pytest.approx(np.mean(tested))
    assert choice["versus_plain_mean"] == pytest.approx(np.mean(np.subtract(tested, plain)))
    assert choice["plain_test_balanced_accuracy_mean"] == pytest.approx(np.mean(plain))


def test_a_base_loss_that_runs_only_reweighted_has_nothing_plain_beside_it():
    methods = {
        "bases": ["cross_entropy"],
        "extra": [{"base": "focal", "reweighting": {"omega": 0.5}}],
    }
    study = made_up_study(methods=methods)
    choice = joined(study.validation, study.test_results).iloc[0]
    assert (choice["versus_plain_n"], choice["versus_baseline_n"]) == (0, 3)
    assert pd.isna(choice["plain_cell"])


def test_every_setting_has_a_best_cell_of_its_own_in_the_order_of_the_study_reweighted_or_plain(study):
    frame = with_validation(study.validation, "cross_entropy", [0.9, 0.8, 0.7])
    best = best_cells(frame)
    assert best["imbalance_factor"].tolist() == ["100", "50"]
    assert best["cell"][0] == "if100/cross_entropy"
    assert best[f"{CRITERION}_mean"][0] == pytest.approx(0.8)
    assert best[f"{CRITERION}_half_width"][0] > 0


def test_the_best_cell_has_all_its_seeds_where_any_cell_has(study):
    broken = study.ended(study.keys("cross_entropy")[0], "failed", "the machine went away")
    frame = with_validation(broken.validation, "cross_entropy", [0.9, 0.9, 0.9])
    assert best_cells(frame)["cell"][0] != "if100/cross_entropy"


def test_before_anything_has_finished_there_is_no_best_cell(study):
    assert best_cells(study.never_ran.validation).empty
    assert not candidates(study.never_ran.validation)


def test_of_a_plain_loss_and_an_omega_that_are_equal_in_everything_the_plain_one_is_best(study):
    frame = study.validation
    frame[CRITERION] = 0.5
    assert best_cells(frame)["cell"].tolist() == ["if100/cross_entropy", "if50/cross_entropy"]
