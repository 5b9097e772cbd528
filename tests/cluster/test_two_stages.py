"""Two-stage trials through worker and store: one backbone for all that start from it, and what if it fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from ccar.cluster.in_process import run_in_process
from ccar.cluster.remaining import RemainingTrials
from ccar.cluster.trial_worker import TrialWorker
from ccar.store.importing import import_trials
from ccar.store.records import TrialRecord
from ccar.store.trial_file import TrainedTrial, read_trials, write_trials
from ccar.store.trial_store import TrialStore
from ccar.study.definition import load_study
from ccar.study.expansion import load_data
from ccar.study.search import trial_source
from tests.cli.test_commands import ccar
from tests.cluster.test_trial_worker import Silent

STUDY = """\
study: stages
question: Which classifier?
data: {{name: digits, imbalance_factors: 10, validation_per_class: 10}}
model: small_cnn
recipe: {{name: digits_quick, epochs: 4, learning_rate: {learning_rate}}}
methods:
  bases: [cross_entropy]
  extra:
    - {{procedure: post_hoc}}
    - {{procedure: tau_norm}}
    - {{base: cross_entropy, procedure: crt, recipe: {{epochs: 2, learning_rate: 0.1}}}}
    - {{base: balanced_softmax, reweighting: {{omega: 0.75}}, procedure: lws, recipe: {{epochs: 2}}}}
seeds: [0, 1]
baseline: cross_entropy
"""


@pytest.fixture
def run(tmp_path):
    """Run the study in this process; returns its trials, the store, and how the run ended."""
    store, cache = TrialStore(tmp_path / "store"), Path(os.environ["CCAR_CACHE"])

    def run_at(learning_rate):
        path = tmp_path / "stages.yaml"
        path.write_text(STUDY.format(learning_rate=learning_rate))
        study = load_study(path)
        source = trial_source(study, load_data(study, cache), store.search_log(study.name))
        worker = TrialWorker(store, cache, device=torch.device("cpu"), threads=1)
        listener = Silent()
        summary = run_in_process(RemainingTrials(source, store, stops_early=False), worker, listener)
        return source.known, store, summary, listener

    return run_at


def test_one_backbone_is_trained_for_each_seed_and_all_start_from_it(run):
    trials, store, summary, _ = run(0.1)
    assert (summary.finished, summary.failures) == (10, [])
    assert {trial.cell.method: len(store.read(trial.key).epochs) for trial in trials} == {
        "cross_entropy": 4,
        "cross_entropy+post_hoc": 1,
        "cross_entropy+tau_norm": 1,
        "cross_entropy[epochs=2, learning_rate=0.1]+crt": 2,
        "balanced_softmax+ccar(omega=0.75)[epochs=2]+lws": 2,
    }
    whole_networks = [record for record in store.all_records() if record.config.procedure.name == "end_to_end"]
    assert len(whole_networks) == 2
    for trial in trials:
        assert store.read_test(trial.key).last_epoch.balanced_accuracy > 0.3


def test_a_second_run_trains_nothing(run):
    run(0.1)
    _, _, summary, listener = run(0.1)
    assert (summary.finished, listener.ends) == (0, [])


def test_stage_two_fails_with_the_reason_when_stage_one_was_imported(run, tmp_path):
    trials, trained, _, _ = run(0.1)
    stage_ones = [trial for trial in trials if trial.stage_one_key is None]
    file = tmp_path / "trials.json"
    write_trials(file, [as_if_from_elsewhere(trained.read(trial.key), trained) for trial in stage_ones])
    shutil.rmtree(trained.root)
    import_trials(trained, read_trials(file))
    _, _, summary, _ = run(0.1)
    assert (summary.finished, len(summary.failures)) == (0, len(trials) - len(stage_ones))
    assert all("was imported, and its network stayed" in error for _, error in summary.failures)


def as_if_from_elsewhere(record: TrialRecord, store: TrialStore) -> TrainedTrial:
    assert record.config is not None
    return TrainedTrial(
        key=record.key,
        config=record.config,
        parts=record.parts,
        class_counts=record.class_counts,
        worker={"device": "elsewhere", "threads": 1, "versions": {}},
        epochs=record.epochs,
        test=store.read_test(record.key),
    )


def test_stage_two_fails_with_the_reason_when_stage_one_diverged_and_trains_nothing_itself(run):
    run(1e9)
    trials, store, summary, _ = run(1e9)  # tries again, and finds the same
    assert len(summary.failures) == 8
    records = {trial.cell.method: store.read(trial.key) for trial in trials if trial.seed == 0}
    diverged = records.pop("cross_entropy")
    assert diverged.status == "diverged"
    assert (
        f"its stage one, trial {diverged.key[:12]}, is diverged, not finished: epoch 1"
        in records["cross_entropy+post_hoc"].error
    )
    assert {record.status for record in records.values()} == {"failed"}
    assert {record.epochs for record in records.values()} == {()}


@pytest.mark.long
@pytest.mark.ray
def test_on_ray_a_two_stage_study_finishes_and_says_what_its_trials_share(tmp_path):
    path = tmp_path / "stages.yaml"
    path.write_text(STUDY.format(learning_rate=0.1))
    code, out, err = ccar("plan", path, cwd=tmp_path)
    assert code == 0, err
    assert "stages    8 trials start from 2 networks trained once each" in out
    code, out, err = ccar("run", path, cwd=tmp_path)
    assert code == 0, err
    assert "crt" in out
    code, out, _ = ccar("plan", path, "--json", cwd=tmp_path)
    assert '"to_run": 0' in out
