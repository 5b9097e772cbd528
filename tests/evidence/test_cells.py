from __future__ import annotations

import dataclasses
import statistics

import numpy as np
import pytest

from ccar.evidence.cells import METRICS, plain_cells, reference_cells, summarise_cells
from ccar.evidence.test_results import with_test_results
from tests.evidence.made_up_study import made_up_study


@pytest.fixture(scope="module")
def study():
    """Two base losses, plain and with two omegas, at two imbalance factors, three seeds."""
    return made_up_study(imbalance_factors=(100, "natural"))


def cells_of(study, baseline="cross_entropy"):
    frame = summarise_cells(with_test_results(study.validation, study.test_results), baseline)
    return frame.set_index("cell", drop=False)


def test_there_is_one_row_per_cell_in_the_order_of_the_plan(study):
    assert cells_of(study)["cell"].tolist() == list(dict.fromkeys(trial.cell.id for trial in study.trials))


def test_mean_and_spread_are_those_of_the_seeds(study):
    values = [study.tests[key].last_epoch.accuracy for key in study.keys("balanced_softmax")[:3]]
    row = cells_of(study).loc["if100/balanced_softmax"]
    assert row["test_accuracy_mean"] == pytest.approx(statistics.mean(values))
    assert row["test_accuracy_sd"] == pytest.approx(statistics.stdev(values))
    assert row["test_accuracy_n"] == 3


def test_differences_are_to_the_baseline_of_the_same_setting(study):
    cells = cells_of(study)
    row = cells.loc["natural/balanced_softmax"]
    expected = row["test_accuracy_mean"] - cells.loc["natural/cross_entropy", "test_accuracy_mean"]
    assert row["test_accuracy_difference_mean"] == pytest.approx(expected)
    assert set(cells[cells["is_baseline"]]["cell"]) == {"if100/cross_entropy", "natural/cross_entropy"}


def test_verdicts_are_on_what_omega_is_chosen_by_where_head_classes_have_more_test_images(study):
    tests = study.test_results.set_index("key")
    keys = study.keys("balanced_softmax")[:3]
    balanced = tests.loc[study.keys("cross_entropy")[:3], "test_balanced_accuracy"].to_numpy()
    tests.loc[keys, "test_balanced_accuracy"] = balanced + np.array([0.10, 0.11, 0.12])
    tests.loc[keys, "test_accuracy"] = balanced - 0.2
    cells = summarise_cells(with_test_results(study.validation, tests.reset_index()), "cross_entropy")
    row = cells.set_index("cell").loc["if100/balanced_softmax"]
    assert row["test_balanced_accuracy_difference_mean"] == pytest.approx(0.11)
    assert row["test_balanced_accuracy_difference_verdict"] == "better"
    assert row["test_accuracy_difference_mean"] < 0
    assert "test_accuracy_difference_verdict" not in row


def test_the_baseline_is_not_compared_with_itself(study):
    assert cells_of(study).loc["if100/cross_entropy", "test_accuracy_difference_n"] == 0


def test_a_study_without_its_baseline_has_no_differences(study):
    assert (cells_of(study, "gone")["test_accuracy_difference_n"] == 0).all()


def test_seeds_that_did_not_finish_are_counted_and_in_no_mean(study):
    keys = study.keys("balanced_softmax")
    broken = study.ended(keys[0], "diverged", "nan").ended(keys[1], "failed", "RuntimeError")
    row = cells_of(broken).loc["if100/balanced_softmax"]
    assert (row["planned"], row["finished"], row["diverged"], row["failed"], row["absent"]) == (3, 1, 1, 1, 0)
    assert row["test_accuracy_mean"] == study.tests[keys[2]].last_epoch.accuracy
    assert row["test_accuracy_n"] == row["test_accuracy_difference_n"] == 1


def test_a_cell_that_never_ran_is_still_there(study):
    nothing = dataclasses.replace(study, records={}, tests={})
    cells = cells_of(nothing)
    assert (cells["absent"] == 3).all()
    assert (cells[[f"{metric}_n" for metric in METRICS]] == 0).all(axis=None)


def test_a_missing_number_of_a_finished_trial_is_not_counted(study):
    trials = with_test_results(study.validation, study.test_results)
    trials.loc[0, "test_few"] = float("nan")
    row = summarise_cells(trials).iloc[0]
    assert (row["test_few_n"], row["test_accuracy_n"]) == (2, 3)


def test_without_test_columns_only_validation_is_summarised(study):
    cells = summarise_cells(study.validation)
    assert not [name for name in cells.columns if name.startswith("test")]


def test_every_reweighted_cell_knows_its_plain_base_loss(study):
    cells = cells_of(study)
    plain = plain_cells(cells)
    assert plain["natural/balanced_softmax+ccar(omega=0.5)"] == "natural/balanced_softmax"
    assert set(plain) == set(cells[cells["omega"].notna()]["cell"])


def test_every_other_cell_knows_the_baseline_of_its_setting(study):
    references = reference_cells(cells_of(study))
    assert references["if100/balanced_softmax"] == "if100/cross_entropy"
    assert "if100/cross_entropy" not in references


def test_bootstrap_intervals_stand_beside_those_of_student(study):
    cells = cells_of(study.ended(study.keys("cross_entropy")[0], "failed", ""))
    row, prefix = cells.loc["natural/balanced_softmax"], "test_balanced_accuracy_difference"
    assert row[f"{prefix}_low"] < row[f"{prefix}_bca_low"] < row[f"{prefix}_mean"] < row[f"{prefix}_bca_high"]
    assert np.isnan(cells.loc["if100/balanced_softmax", f"{prefix}_bca_low"])
