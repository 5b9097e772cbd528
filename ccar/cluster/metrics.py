"""What Prometheus can scrape of a run, beside Ray's own metrics: through Ray's metrics API.

The agent of the driver's node exports them as `ray_ccar_...`, each with the label `study`; dashboards/cluster has the
panels.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from ray.util.metrics import Counter, Gauge

from ccar.cluster.events import TrialProgress

STATES: Final = ("waiting", "running", "finished", "diverged", "stopped", "failed")
# As reasons; a lost worker is one too.
FAILURES: Final = ("diverged", "failed", "out_of_memory", "store_failed", "refused")
OUTBOX_SECONDS = 15.0  # between two looks at the outbox, at least
OUTBOX_SHARE = 0.01  # of the time may go into them

_Metric = TypeVar("_Metric", Counter, Gauge)


class RunMetrics:
    """Counts what a runner tells (see `ccar.cluster.events.Listener`)."""

    def __init__(self, study: str, num_trials: int, num_done: int, outbox_depth: Callable[[], int]) -> None:
        """Ray must have been started.

        Args:
            study: its name.
            num_trials: that are still to be trained, as far as they are known.
            num_done: how many the store had before.
            outbox_depth: how many trials have something that MLflow does not have yet; asked in a thread of its own.
        """
        self._trials = _of(study, Gauge, "ccar_trials", "Trials by state.", "state")
        self._epochs = _of(study, Counter, "ccar_epochs", "Epochs trained.")
        self._images = _of(study, Counter, "ccar_images", "Images trained on.")
        self._commits = _of(study, Counter, "ccar_store_commits", "Commits to the trial store.")
        self._failures = _of(study, Counter, "ccar_failures", "What went wrong, by reason.", "reason")
        self._outbox = _of(study, Gauge, "ccar_outbox_depth", "Trials that MLflow does not have all of.")
        self._counts = {**dict.fromkeys(STATES, 0), "waiting": num_trials, "finished": num_done}
        self._outbox_depth = outbox_depth
        self._next_look = 0.0
        self._move("waiting", 0)

    def started(self) -> None:
        """One more is running."""
        self._move("waiting", -1)
        self._move("running", +1)

    def progressed(self, progress: TrialProgress) -> None:
        """Add what is new."""
        for counter, new in (
            (self._epochs, progress.new_epochs),
            (self._images, progress.new_images),
            (self._commits, progress.new_commits),
        ):
            if new:
                counter.inc(new)
        if progress.ended:
            self._move("running", -1)
            state = "failed" if progress.status == "out_of_memory" else progress.status
            self._move(state if state in STATES else "waiting", +1)
            if progress.status in FAILURES:
                self._failures.inc(tags={"reason": progress.status})
        self._look_at_outbox()

    def lost_worker(self) -> None:
        """The process of one that was running died."""
        self._move("running", -1)
        self._move("waiting", +1)
        self._failures.inc(tags={"reason": "lost_worker"})

    def _move(self, state: str, by: int) -> None:
        self._counts[state] = max(0, self._counts[state] + by)  # a searcher may come up with more than were known
        for each, count in self._counts.items():  # all: what was told before Ray's agent listened is lost
            self._trials.set(count, tags={"state": each})

    def _look_at_outbox(self) -> None:
        if time.monotonic() >= self._next_look:
            self._next_look = math.inf  # one at a time
            # In a large store, or a distant one, it takes seconds, in which Tune would hand out no trial.
            threading.Thread(target=self._measure_outbox, name="ccar-outbox-depth", daemon=True).start()

    def _measure_outbox(self) -> None:
        began = time.monotonic()
        self._outbox.set(self._outbox_depth())
        ended = time.monotonic()
        self._next_look = ended + max(OUTBOX_SECONDS, (ended - began) / OUTBOX_SHARE)


def _of(study: str, kind: type[_Metric], name: str, description: str, *labels: str) -> _Metric:
    metric = kind(name, description, tag_keys=("study", *labels))
    metric.set_default_tags({"study": study})
    return metric
