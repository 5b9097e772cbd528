from __future__ import annotations

from ccar.cli.places import Places
from ccar.cli.run import _RunListener
from ccar.cli.study_view import StudyView
from ccar.cluster.remaining import RemainingTrials
from tests.tiny_study import write_tiny_study


class Quiet:
    """Stands for the display and for the feeder."""

    def started(self, trial):
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
