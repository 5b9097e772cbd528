"""A study read bit by bit, from a store that is away now and then: its frames are those of the report."""

from __future__ import annotations

import pandas as pd
import pytest

from ccar.errors import StoreError
from ccar.evidence.frames import validation_frame
from ccar.store.trial_store import TrialStore
from dashboards import library as looking
from dashboards import stored_study
from dashboards.library import Library
from dashboards.pages.study import base_losses
from dashboards.stored_study import StoredStudy
from tests.dashboards.made_up_store import begin, finish, put_study

NAMED_AND_REWEIGHTED = """\
  extra:
    - {base: cross_entropy, reweighting: {omega: 0.75}, procedure: bbn}
    - {label: BBN, base: cross_entropy, procedure: bbn}
"""


@pytest.fixture
def store(tmp_path):
    return TrialStore(tmp_path / "store")


def assert_as_in_the_report(store, trials, state):
    records = {trial.key: store.read(trial.key) for trial in trials}
    of_report = validation_frame(trials, records).drop(columns="data_fingerprint")  # which the store's studies lack
    pd.testing.assert_frame_equal(state.validation.drop(columns="data_fingerprint"), of_report)


@pytest.mark.parametrize("at_once", [1, 4, 200])
def test_a_study_read_in_batches_has_the_frames_of_the_report(store, monkeypatch, at_once):
    monkeypatch.setattr(stored_study, "_BATCH", at_once)
    trials = put_study(store, bases=["cross_entropy"], omegas=[0.5], extra=NAMED_AND_REWEIGHTED)
    study = StoredStudy(store, store.study("made-up"))
    for trial in trials:
        finish(store, trial)
        assert study.refresh(frozenset(store.keys()), 60)
    assert_as_in_the_report(store, trials, study.state)
    own = study.state.validation[study.state.validation["procedure"] == "bbn"]
    assert set(own["family"]) == {"BBN"}


def test_omegas_take_the_label_of_a_plain_loss_that_is_added_later(store):
    reweighted = NAMED_AND_REWEIGHTED[: NAMED_AND_REWEIGHTED.index("    - {label")]
    study_of = {"bases": ["cross_entropy"], "omegas": [0.5]}
    for trial in put_study(store, **study_of, extra=reweighted):
        finish(store, trial)
    study = StoredStudy(store, store.study("made-up"))
    study.refresh(frozenset(store.keys()), 60)
    trials = put_study(store, **study_of, extra=NAMED_AND_REWEIGHTED)
    study.remember(store.study("made-up"))
    study.refresh(frozenset(store.keys()), 60)
    assert_as_in_the_report(store, trials, study.state)


def test_the_base_losses_to_choose_from_are_those_that_the_cells_are_found_by(store):
    put_study(store, bases=["cross_entropy"], omegas=[0.5], extra=NAMED_AND_REWEIGHTED)
    study = StoredStudy(store, store.study("made-up"))
    study.refresh(frozenset(), 60)
    (choice,) = base_losses("/study", study.state, {})
    offered = [item.children.children for item in choice.children[1].children]
    assert offered == ["all", *study.state.validation["family"].unique()]


class Failing:
    """A method that raises once, as a disk or a server does that is away for a moment."""

    def __init__(self, method, error, at=1):
        self.calls, self._method, self._error, self._at = 0, method, error, at

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls == self._at:
            raise self._error
        return self._method(*arguments)


@pytest.mark.parametrize("error", [StoreError("it does not answer"), OSError(116, "Stale file handle")])
def test_a_finished_trial_that_could_not_be_read_for_a_moment_is_read_again(store, monkeypatch, error):
    trials = put_study(store)
    for trial in trials:
        finish(store, trial)
    failing = Failing(store.read, error)
    monkeypatch.setattr(store, "read", failing)
    study = StoredStudy(store, store.study("made-up"))
    begun = frozenset(store.keys())
    assert study.refresh(begun, 60)
    assert study.state.problems == (str(error),)
    assert study.state.is_whole
    assert not study.refresh(begun, 60)
    assert failing.calls == len(trials)
    monkeypatch.setattr(stored_study, "RETRY_SECONDS", 0.0)
    assert study.refresh(begun, 60)
    assert study.state.problems == ()
    assert_as_in_the_report(store, trials, study.state)


def test_a_trial_that_stays_unreadable_is_no_news(store, monkeypatch):
    finish(store, put_study(store)[0])
    study = StoredStudy(store, store.study("made-up"))

    def away(key):
        raise StoreError("it does not answer")

    monkeypatch.setattr(store, "read", away)
    monkeypatch.setattr(stored_study, "RETRY_SECONDS", 0.0)
    begun = frozenset(store.keys())
    assert [study.refresh(begun, 60) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("call", [1, 2])  # when the trial is read, and when it is asked whether it goes on
def test_a_look_that_is_broken_off_leaves_nothing_half_read(store, monkeypatch, call):
    trials = put_study(store)
    finish(store, trials[0])
    claim = begin(store, trials[1])
    failing = Failing(store.is_being_trained, RuntimeError("nobody thought of this"), at=call)
    monkeypatch.setattr(store, "is_being_trained", failing)
    study = StoredStudy(store, store.study("made-up"))
    begun = frozenset(store.keys())
    with pytest.raises(RuntimeError):
        study.refresh(begun, 60)
    assert study.refresh(begun, 60)
    assert study.state.is_whole
    assert study.state.running == {trials[1].key}
    assert_as_in_the_report(store, trials, study.state)
    claim.release()


@pytest.mark.parametrize("error", [StoreError("it does not answer"), OSError(5, "Input/output error")])
def test_a_study_that_could_not_be_read_for_a_moment_is_read_again(store, monkeypatch, error):
    finish(store, put_study(store)[0])
    monkeypatch.setattr(store, "study", Failing(store.study, error))
    library = Library(store)
    monkeypatch.setattr(looking, "RETRY_SECONDS", 0.0)
    if isinstance(error, StoreError):
        library.refresh()
        assert library.unreadable == {"made-up": "it does not answer"}
    else:
        with pytest.raises(OSError, match="Input/output"):
            library.refresh()
    library.refresh()
    assert library.unreadable == {}
    assert (library.states[0].validation["status"] == "finished").sum() == 1
    library.close()
