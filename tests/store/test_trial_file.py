"""Trials that were trained elsewhere come into a store whole, once, and only as what their keys say."""

from __future__ import annotations

import dataclasses
import json

import pytest

from ccar.errors import UserError
from ccar.store.importing import Import, import_trials
from ccar.store.key import digest_of_parts
from ccar.store.seal import sealed
from ccar.store.trial_file import TrainedTrial, read_trials, write_trials
from ccar.store.trial_store import TrialStore
from tests.cli.test_commands import ccar
from tests.store.examples import CLASS_COUNTS, CONFIG, NUM_EPOCHS, PARTS, TEST, WORKER, epoch

KEY = digest_of_parts(PARTS)
TRIAL = TrainedTrial(
    key=KEY,
    config=CONFIG,
    parts=PARTS,
    class_counts=CLASS_COUNTS,
    worker={**WORKER, "host": "elsewhere"},
    epochs=tuple(epoch(number) for number in range(1, NUM_EPOCHS + 1)),
    test=TEST,
)


@pytest.fixture
def store(place):
    """An empty store."""
    return TrialStore(place)


@pytest.fixture
def file(tmp_path):
    """A file with one finished trial."""
    write_trials(tmp_path / "trials.json", [TRIAL])
    return tmp_path / "trials.json"


def changed(file, **changes):
    """Write the file's trial again with other content, sealed as if nothing had happened."""
    content = json.loads(file.read_bytes().partition(b"\n")[0])
    content["trials"][0] |= changes
    file.write_bytes(sealed(content))


def test_an_imported_trial_reads_as_one_that_was_trained_here(store, file, tmp_path):
    assert import_trials(store, read_trials(file)) == Import(1, 0, ())
    here = TrialStore(tmp_path / "here")
    claim = here.claim(CONFIG, PARTS, class_counts=CLASS_COUNTS, worker=TRIAL.worker)
    claim.finish(TEST, b"weights", TRIAL.epochs)
    times = {"started_at": None, "ended_at": None, "worker": {}}
    imported, trained = (dataclasses.replace(each.read(KEY), **times) for each in (store, here))
    assert imported == trained
    assert store.read(KEY).worker["host"] == "elsewhere"
    assert store.read_test(KEY) == TEST
    assert store.read_weights(KEY) is None


def test_the_same_file_twice_doubles_nothing(store, file):
    import_trials(store, read_trials(file))
    before = store.read(KEY)
    assert import_trials(store, read_trials(file)) == Import(0, 1, ())
    assert store.read(KEY) == before


def test_a_diverged_trial_stays_diverged(store, tmp_path):
    gone = dataclasses.replace(TRIAL, test=None, epochs=TRIAL.epochs[:1], error="epoch 2: the training loss is nan")
    write_trials(tmp_path / "trials.json", [gone])
    import_trials(store, read_trials(tmp_path / "trials.json"))
    assert (store.read(KEY).status, store.read(KEY).error) == ("diverged", "epoch 2: the training loss is nan")


def test_a_trial_that_the_store_has_begun_is_left_alone(store, file):
    claim = store.claim(CONFIG, PARTS, class_counts=CLASS_COUNTS, worker=WORKER)
    assert "is being trained by process" in import_trials(store, read_trials(file)).in_the_way[0]
    claim.commit([epoch(1)], b"state")
    claim.release()
    done = import_trials(store, read_trials(file))
    assert done == Import(0, 0, (f"trial {KEY[:12]} is unfinished here after 1 epochs",))
    assert store.read(KEY).status == "unfinished"


def test_a_claim_without_an_epoch_is_taken_over(store, file):
    store.claim(CONFIG, PARTS, class_counts=CLASS_COUNTS, worker=WORKER).release()
    assert import_trials(store, read_trials(file)).imported == 1


def test_the_store_that_an_import_makes_is_its_owners_alone(file, tmp_path):
    import_trials(TrialStore(tmp_path / "new"), read_trials(file))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_damaged_file_is_refused(file):
    file.write_bytes(file.read_bytes().replace(b'"accuracy":0.4', b'"accuracy":0.9'))
    with pytest.raises(UserError, match="is damaged"):
        read_trials(file)


def test_a_file_that_was_cut_short_is_refused(file):
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match="is damaged"):
        read_trials(file)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format":"something else"}\n', b"\x89PNG\r\n"])
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "foreign").write_bytes(content)
    with pytest.raises(UserError, match="is not a file of trials"):
        read_trials(tmp_path / "foreign")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_trials(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "0" * 64},
        {"config": {**CONFIG.model_dump(mode="json"), "seed": 1}},
        {"parts": {**PARTS, "data_fingerprint": "1" * 64}},
        {"parts": {**PARTS, "seed": 1}, "key": digest_of_parts({**PARTS, "seed": 1})},
    ],
)
def test_a_key_that_does_not_fit_its_trial_is_refused(file, changes):
    changed(file, **changes)
    with pytest.raises(UserError, match="is not what its key says"):
        read_trials(file)


def test_trials_of_another_training_code_are_refused(file):
    other = {**PARTS, "code": "0" * 64}
    changed(file, parts=other, key=digest_of_parts(other))
    with pytest.raises(UserError, match="another version of the training code"):
        read_trials(file)


@pytest.mark.parametrize("changes", [{"epochs": [{"epoch": 1}]}, {"config": {"data": "x"}}])
def test_a_file_of_another_version_is_refused(file, changes):
    changed(file, **changes)
    with pytest.raises(UserError, match="another version of ccar"):
        read_trials(file)


def test_the_command_says_what_it_did_and_ends_with_2_on_a_file_that_it_refuses(file, tmp_path):
    code, out, _ = ccar("import", file, cwd=tmp_path)
    assert (code, out) == (0, f"{file}: 1 of 1 trials imported, 0 were there already\n")
    code, out, _ = ccar("import", file, cwd=tmp_path)
    assert (code, out) == (0, f"{file}: 0 of 1 trials imported, 1 were there already\n")
    changed(file, key="0" * 64)
    code, out, err = ccar("import", file, "--store", tmp_path / "other", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "is not what its key says" in err
    assert not (tmp_path / "other").exists()
