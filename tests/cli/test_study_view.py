from __future__ import annotations

import json

import torch

from ccar.cli.listing import runs_of
from ccar.cli.places import Places
from ccar.cli.run import _RunListener
from ccar.cli.study_view import StudyView
from ccar.cluster.in_process import run_in_process
from ccar.cluster.remaining import RemainingTrials
from ccar.cluster.trial_worker import TrialWorker
from ccar.reports.results import summarise
from ccar.study.expansion import method_of
from ccar.study.methods import entry_of
from tests.tiny_study import write_tiny_study


class Quiet:
    """Stands for the display and for the feeder."""

    def started(self, trial):
        pass

    def progressed(self, trial, progress):
        pass

    def all_ended(self, summary):
        pass


def test_what_a_searcher_comes_up_with_is_noted_in_the_store_as_it_starts(tmp_path):
    search = "search: {algorithm: random, num_samples: 3, omega: [0.1, 1.0], max_concurrent: 1}"
    path = write_tiny_study(tmp_path, more=search)
    path.write_text(path.read_text().replace("reweighting: {omega: [0.5]}", "reweighting: {}"))
    view = StudyView.open(path, Places.of(tmp_path / "store", None))
    source = view.source()
    remaining = RemainingTrials(source, view.places.store, stops_early=False)
    view.remember(source.known)
    listener = _RunListener(Quiet(), view, remaining, Quiet(), on_cluster=False)
    while not remaining.exhausted:
        trial = remaining.next()
        listener.started(trial)
        noted = {known.key for known in view.places.store.study("tiny").trials}
        assert trial.key in noted
        remaining.tell(trial, {"balanced_accuracy": 0.5})
    assert len(source.known) == 4


def test_a_search_whose_omega_was_written_into_its_study_trains_nothing_again_and_is_reported(tmp_path):
    search = "search: {algorithm: random, num_samples: 2, omega: [0.1, 1.0]}"
    path = write_tiny_study(tmp_path, more=search)
    path.write_text(path.read_text().replace("reweighting: {omega: [0.5]}", "reweighting: {}"))
    view = StudyView.open(path, Places.of(tmp_path / "store", None))
    worker = TrialWorker(view.places.store, view.places.cache_dir, device=torch.device("cpu"), threads=1)
    run_in_process(RemainingTrials(view.source(), view.places.store, stops_early=False), worker, Quiet())
    *_, before, found = view.source().known

    extra = json.dumps([entry_of(method_of(view.study, found.cell))])
    path.write_text(path.read_text().replace("reweighting: {}", f"reweighting: {{}}\n  extra: {extra}"))
    view = StudyView.open(path, view.places)
    assert RemainingTrials(view.source(), view.places.store, stops_early=False).exhausted
    cells = summarise(view.report_input(view.source().known)).cells
    assert cells["cell"].tolist() == ["if10/cross_entropy", found.cell.id, before.cell.id]
    assert (cells["finished"] == 1).all()
    view.remember(view.source().known)
    (row,) = runs_of(view.places.store, ["tiny"])
    assert (row["trials"], row["finished"], row["to go"]) == (3, 3, 0)
