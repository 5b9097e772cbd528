"""How far `ccar list runs` and `ccar status` say a study is, from what the store has of it."""

from __future__ import annotations

import dataclasses

import pytest

from ccar.cli.listing import runs_of
from ccar.cli.places import Places
from ccar.cli.study_view import StudyView
from ccar.store.key import key_parts
from tests.store.examples import CLASS_COUNTS, WORKER, epoch
from tests.tiny_study import write_tiny_study


def remembered(folder, **shape):
    """A study that has begun: the store knows its trials, and none has run."""
    view = StudyView.open(write_tiny_study(folder, **shape), Places.of(folder / "ccar-store", None))
    view.remember(view.source().known)
    return view


def begun(view, index):
    """A claim on one of its trials, with an epoch."""
    trial = view.source().known[index]
    parts = key_parts(trial.config, trial.data_fingerprint)
    claim = view.places.store.claim(trial.config, parts, class_counts=CLASS_COUNTS, worker=WORKER)
    claim.commit([epoch(1)], b"state")
    return claim


def row_of(view):
    (row,) = runs_of(view.places.store, ["tiny"])
    return row


def test_a_search_has_the_trials_to_go_that_are_yet_to_be_suggested(tmp_path):
    view = remembered(
        tmp_path, omegas="null", seeds="[0, 1]", more="search: {algorithm: tpe, num_samples: 5, omega: [0.1, 1.0]}"
    )
    assert len(view.source().known) == 2
    row = row_of(view)
    assert (row["trials"], row["to go"]) == (view.source().num_trials, 12)


def test_a_trial_that_failed_is_to_go_since_the_next_run_tries_it_again(tmp_path):
    view = remembered(tmp_path)
    begun(view, 0).fail("RuntimeError: no memory")
    begun(view, 1).diverge("the loss is nan in epoch 2")
    row = row_of(view)
    assert (row["trials"], row["failed"], row["diverged"], row["to go"]) == (2, 1, 1, 1)


@pytest.mark.parametrize(("early_stopping", "to_go"), [("none", 2), ("{algorithm: median, grace_epochs: 1}", 1)])
def test_a_trial_that_was_stopped_early_is_to_go_where_the_study_stops_none(tmp_path, early_stopping, to_go):
    view = remembered(tmp_path, epochs=9, more=f"early_stopping: {early_stopping}")
    begun(view, 0).stop("it was behind the others")
    row = row_of(view)
    assert (row["trials"], row["stopped"], row["to go"]) == (2, 1, to_go)


def test_a_study_whose_file_cannot_be_read_here_has_the_trials_that_the_store_knows(tmp_path):
    view = remembered(tmp_path)
    record = view.places.store.study("tiny")
    view.places.store.put_study(dataclasses.replace(record, definition="study: tiny"))
    row = row_of(view)
    assert (row["trials"], row["to go"]) == (2, 2)


def test_a_study_with_a_folder_of_a_user_who_is_not_here_is_listed_beside_the_others(tmp_path):
    store = remembered(tmp_path).places.store
    record = store.study("tiny")
    theirs = record.definition.replace("{name: digits,", "{name: image_folder, root: ~no-such-user-here/images,")
    store.put_study(dataclasses.replace(record, name="theirs", definition=theirs))
    assert [(row["study"], row["trials"]) for row in runs_of(store, ["theirs", "tiny"])] == [("theirs", 2), ("tiny", 2)]
