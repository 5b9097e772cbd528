"""The in-process twin of the Ray runner: same source, same worker, same summary, one trial after another."""

from __future__ import annotations

from ccar.cluster.events import Listener, RunSummary
from ccar.cluster.worker import Worker
from ccar.study.search import TrialSource


def run_in_process(source: TrialSource, worker: Worker, listener: Listener) -> RunSummary:
    """Train everything that `source` hands out, in this process.

    Early stopping needs trials that run side by side; here every trial runs to its end.
    """
    summary = RunSummary()
    while not source.exhausted:
        trial = source.next()
        assert trial is not None, "with nothing running there is nothing to wait for"
        listener.started(trial)
        for progress in worker.run(trial.config, trial.key):
            listener.progressed(trial, progress)
            if progress.ended:
                summary.count(trial, progress)
                source.tell(trial, progress.accuracies if progress.status == "finished" else None)
        if summary.is_cut_short:
            break
    listener.all_ended(summary)
    return summary
