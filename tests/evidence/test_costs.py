from __future__ import annotations

import pytest

from ccar.evidence.cells import summarise_cells
from ccar.evidence.costs import claim_costs, study_costs
from ccar.evidence.selection import select_omega
from tests.evidence.made_up_study import NUM_EPOCHS, made_up_study

SECONDS = 1.5 * NUM_EPOCHS  # of a trial; the made-up ones begin at 1000 and end at 1004.5


@pytest.fixture(scope="module")
def study():
    """Two base losses, plain and with two omegas, three seeds: 18 trials."""
    return made_up_study()


def test_hours_are_those_of_all_trials_and_of_each_cell(study):
    found = study_costs(study.validation, study.costs, submitted_at=0.0)
    assert found.hours == pytest.approx(18 * SECONDS / 3600)
    assert found.hours_by_device == pytest.approx({"cpu": found.hours})
    assert found.hours_of_cell["if100/cross_entropy"] == pytest.approx(3 * SECONDS / 3600)


def test_trials_that_ended_before_the_study_was_run_came_from_the_store(study):
    costs = study.costs
    costs.loc[:5, "ended_at"] = 500.0
    found = study_costs(study.validation, costs, submitted_at=900.0)
    assert found.num_from_store == 6
    assert found.hours_from_store == pytest.approx(6 * SECONDS / 3600)


def test_what_a_trial_reached_that_has_not_ended_for_good_did_not_come_from_the_store(study):
    failed = study.ended(study.keys("cross_entropy")[0], "failed", "OSError")
    costs = failed.costs
    costs.loc[:5, "ended_at"] = 500.0
    assert study_costs(failed.validation, costs, submitted_at=900.0).num_from_store == 5


def test_a_study_that_was_never_run_has_nothing_from_the_store(study):
    assert study_costs(study.validation, study.costs, submitted_at=None).num_from_store == 0


def test_a_stopped_trial_spared_the_epochs_that_it_lacks_at_its_own_pace(study):
    key = study.keys("cross_entropy+ccar(omega=0.5)")[0]
    stopped = study.ended(key, "stopped", "asha")
    frame = stopped.validation
    frame.loc[frame["key"] == key, "epochs"] = 1
    frame.loc[frame["family"] == "balanced_softmax", "epochs"] = 10 * NUM_EPOCHS  # what another training takes
    costs = stopped.costs
    costs.loc[costs["key"] == key, "seconds"] = 2.0
    found = study_costs(frame, costs, submitted_at=0.0)
    assert found.num_stopped == 1
    assert found.hours_spared_by_stopping == pytest.approx(2.0 * (NUM_EPOCHS - 1) / 3600)


def test_trials_that_never_ran_cost_nothing(study):
    nothing = made_up_study()
    empty = nothing.never_ran
    found = study_costs(empty.validation, empty.costs, submitted_at=None)
    assert (found.hours, found.hours_by_device) == (0.0, {})


def test_a_claim_costs_its_plain_cell_and_every_candidate(study):
    costs = study_costs(study.validation, study.costs, submitted_at=0.0)
    cells = summarise_cells(study.validation)
    claims = claim_costs(select_omega(study.validation), cells, costs.hours_of_cell)
    assert claims["cells"].tolist() == [3, 3]
    assert claims["trials"].tolist() == [9, 9]
    assert claims["hours"].tolist() == pytest.approx([9 * SECONDS / 3600] * 2)
