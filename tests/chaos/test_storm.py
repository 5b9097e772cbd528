"""A study that is hit twelve times ends as if nothing had happened."""

from __future__ import annotations

import subprocess

import pytest

from tests.chaos.checker import doubled_epochs, left_behind, results, wrong_in_mlflow
from tests.chaos.storm import CCAR, FAULTS, Storm, schedule
from tests.tiny_study import write_tiny_study

pytestmark = [pytest.mark.ray, pytest.mark.long]

NUM_FAULTS = 12


def test_a_study_in_a_storm_ends_with_the_same_bits_and_leaves_nothing_behind(tmp_path):
    epochs = 180
    study = write_tiny_study(tmp_path, epochs=epochs, bases="[cross_entropy, ldam, focal]", seeds="[0, 1]")
    calm = tmp_path / "calm"
    folder = tmp_path / "storm"
    folder.mkdir()
    faults = schedule(NUM_FAULTS, seed=0)
    command = [*CCAR, "run", str(study), "--store", str(calm)]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as undisturbed,
        Storm(study, 12 * epochs, folder) as storm,
    ):
        storm.rage(faults)
    assert undisturbed.returncode == 0
    assert sorted(storm.outcome.faults) == sorted(fault.kind for fault in faults)
    assert (storm.outcome.epochs_lost, doubled_epochs(storm.store.root)) == (0, 0)
    assert results(storm.store.root, "tiny") == results(calm, "tiny")
    assert wrong_in_mlflow(storm.store.root, "tiny", storm.store.root / "mlflow.db") == []
    assert left_behind(folder, storm.outcome) == []


def test_a_schedule_depends_on_its_seed_alone_and_has_every_fault():
    assert schedule(12, 1) == schedule(12, 1)
    assert schedule(12, 1) != schedule(12, 2)
    shares = [fault.share for fault in schedule(100, 1)]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1
    assert {fault.kind for fault in schedule(12, 1)} == set(FAULTS)
