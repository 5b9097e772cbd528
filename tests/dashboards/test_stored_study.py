"""A study read bit by bit, from a store that is away now and then: its frames are those of the report."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace

import pandas as pd
import pytest
from plotly.io.json import to_json_plotly

from ccar.errors import StoreError
from ccar.evidence.frames import validation_frame
from ccar.store.trial_store import TrialStore
from dashboards import library as looking
from dashboards import stored_study
from dashboards.desk import Desk
from dashboards.library import Library
from dashboards.pages import studies
from dashboards.pages import study as progress
from dashboards.pages.study import base_losses
from dashboards.stored_study import StoredStudy
from tests.dashboards.made_up_store import begin, epoch, finish, put_study

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


@pytest.mark.parametrize("epochs", [2, 0])  # a log of another length, and one of the same
def test_numbers_of_a_trial_that_was_trained_anew_replace_those_that_were_read(store, epochs):
    one = put_study(store)[0]
    finish(store, one)
    study = StoredStudy(store, store.study("made-up"))
    study.refresh(frozenset(store.keys()), 60)
    former = study.report_input(study.state)
    test = store.read_test(one.key)
    shutil.rmtree(store.root / "trials" / one.key[:2] / one.key)
    other = replace(test, last_epoch=replace(test.last_epoch, accuracy=0.25))
    begin(store, one, epochs).finish(other, b"weights", [epoch(one, number) for number in range(epochs + 1, 4)])
    study.distrust()
    assert study.refresh(frozenset(store.keys()), 60)
    now = study.report_input(study.state)
    assert now.tests["test_accuracy"].tolist() == [0.25]
    assert len(now.reliability) == len(former.reliability)
    study.distrust()
    assert not study.refresh(frozenset(store.keys()), 60)


def test_a_trial_that_stays_unreadable_is_no_news(store, monkeypatch):
    finish(store, put_study(store)[0])
    study = StoredStudy(store, store.study("made-up"))

    def away(key):
        raise StoreError("it does not answer")

    monkeypatch.setattr(store, "read", away)
    monkeypatch.setattr(stored_study, "RETRY_SECONDS", 0.0)
    begun = frozenset(store.keys())
    assert [study.refresh(begun, 60) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize(("method", "call"), [("read", 2), ("is_being_trained", 1)])
def test_a_look_that_is_broken_off_leaves_nothing_half_read(store, monkeypatch, method, call):
    trials = put_study(store)
    finish(store, trials[0])
    claim = begin(store, trials[1])
    failing = Failing(getattr(store, method), RuntimeError("nobody thought of this"), at=call)
    monkeypatch.setattr(store, method, failing)
    study = StoredStudy(store, store.study("made-up"))
    begun = frozenset(store.keys())
    with pytest.raises(RuntimeError):
        study.refresh(begun, 60)
    assert study.refresh(begun, 60)
    assert study.state.is_whole
    assert study.state.running == {trials[1].key}
    assert_as_in_the_report(store, trials, study.state)
    claim.release()


@pytest.mark.parametrize("ahead", [-90, 90])  # seconds that the clock of the store is ahead of ours
def test_a_trial_runs_whatever_the_clocks_say_once_its_heart_was_seen_to_beat(store, ahead):
    trial = put_study(store)[0]
    claim = begin(store, trial)
    claim._heartbeat.stop()
    (heartbeat,) = (store.root / "trials" / trial.key[:2] / trial.key).glob("heartbeat-*")
    study = StoredStudy(store, store.study("made-up"))
    for beat in (0, 5):
        os.utime(heartbeat, (0, time.time() + ahead + beat))
        study.refresh(frozenset(store.keys()), 60)
    assert study.state.running == {trial.key}
    claim.release()
    study.refresh(frozenset(store.keys()), 60)
    assert study.state.running == frozenset()


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


@pytest.mark.parametrize(
    ("listed", "total"),
    [("", 18), ("  extra: [{base: focal, reweighting: {omega: 0.5}}]\n", 6)],  # one that was suggested and then listed
)
def test_a_search_is_not_done_before_its_last_suggestion_is(tmp_path, listed, total):
    store = TrialStore(tmp_path / "store")
    for trial in put_study(store, bases=["focal"], omegas=[0.5], baseline="focal"):
        finish(store, trial)
    record = store.study("made-up")
    num_samples = 1 if listed else 5
    search = f"search: {{algorithm: tpe, num_samples: {num_samples}, omega: [0.1, 1.0]}}\n"
    text = record.definition.replace("omega: [0.5]", "omega: null").replace("seeds:", f"{listed}{search}seeds:")
    store.put_study(replace(record, definition=text))
    library = Library(store)
    library.refresh()
    desk = Desk.on(library, tmp_path, "")
    list_, page = (
        to_json_plotly(results(desk, {"study": "made-up"})) for results in (studies.results, progress.results)
    )
    assert f"6 of {total}" in list_
    assert ("unfinished" in list_) == (total > 6)
    assert f"6 of {total} trials done" in page
    assert ("12 waiting" in page) == (total > 6)
    library.close()
