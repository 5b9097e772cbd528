"""How fast a study goes on and how long it still takes: sums over made-up times."""

from __future__ import annotations

import dataclasses

import pytest

from ccar.store.trial_store import TrialStore
from dashboards import progress
from dashboards.stored_study import StoredStudy
from tests.dashboards.made_up_store import begin, finish, put_study

NOW = 1_700_001_000.0


@pytest.fixture
def store(tmp_path):
    return TrialStore(tmp_path / "store")


def state_of(store, name="made-up"):
    study = StoredStudy(store, store.study(name))
    study.refresh(frozenset(store.keys()), 60)
    return study.state


def pace_of(state, *, started, ended, seconds=4.5):
    """The pace at `NOW` of a study whose trials began and ended so many seconds before, in their order."""
    costs = state.costs.copy()
    for name, ago in (("started_at", started), ("ended_at", ended)):
        costs.loc[: len(ago) - 1, name] = [NOW - before for before in ago]
    costs.loc[: len(ended) - 1, "seconds"] = seconds
    state = dataclasses.replace(state, costs=costs)
    return progress.pace(state, progress.trial_states(state), NOW)


def pace_after_four(store, *, started, ended):
    """Of nine trials four have finished and one runs."""
    trials = put_study(store, bases=["focal"], omegas=[0.5, 0.75], baseline="focal")
    for trial in trials[:4]:
        finish(store, trial)
    claim = begin(store, trials[4])
    found = pace_of(state_of(store), started=started, ended=ended)
    claim.release()
    return found


def test_the_time_left_follows_from_what_ended_in_the_last_ten_minutes(store):
    found = pace_after_four(store, started=(400, 300, 200, 100), ended=(300, 200, 100, 0))
    assert found.trials_per_hour == pytest.approx(4 / 400 * 3600)
    assert found.seconds_left == pytest.approx(5 / (4 / 400))
    assert found.images_per_second == 400.0


def test_what_ended_before_does_not_count(store):
    found = pace_after_four(store, started=(9000, 8000, 500, 400), ended=(8000, 7000, 400, 300))
    assert found.trials_per_hour == pytest.approx(2 / 500 * 3600)


def test_before_the_second_end_it_follows_from_what_a_trial_took_and_how_many_run(store):
    trials = put_study(store, bases=["focal"], omegas=[0.5, 0.75], baseline="focal")
    finish(store, trials[0])
    claims = [begin(store, trial) for trial in trials[1:3]]
    found = pace_of(state_of(store), started=(70,), ended=(10,), seconds=60.0)
    for claim in claims:
        claim.release()
    assert found.trials_per_hour == pytest.approx(2 * 60)
    assert found.seconds_left == pytest.approx(8 * 60.0 / 2)


@pytest.mark.parametrize("ago", [0, 300, 900])
def test_of_trials_that_take_longer_than_ten_minutes_the_time_left_is_the_same_after_a_wave_as_before_it(store, ago):
    trials = put_study(store, bases=["focal"], omegas=[0.5, 0.75], baseline="focal")
    for trial in trials[:4]:
        finish(store, trial)
    claims = [begin(store, trial) for trial in trials[4:8]]
    ended = (ago + 3, ago + 2, ago + 1, ago)
    found = pace_of(state_of(store), started=[before + 1200 for before in ended], ended=ended, seconds=1200.0)
    for claim in claims:
        claim.release()
    assert found.trials_per_hour == pytest.approx(4 * 3)
    assert found.seconds_left == pytest.approx(5 * 1200.0 / 4)


def test_of_a_study_that_nobody_runs_it_is_unknown_and_of_one_that_is_done_nothing(store):
    trials = put_study(store, bases=["focal"], omegas=[0.5], baseline="focal")
    for trial in trials[:-1]:
        finish(store, trial)
    assert pace_of(state_of(store), started=(), ended=()).seconds_left is None
    finish(store, trials[-1])
    assert pace_of(state_of(store), started=(), ended=()).seconds_left == 0.0
