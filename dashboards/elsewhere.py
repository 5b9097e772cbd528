"""Studies that the MLflow server has and this store has not: asked for now and then, however many people look."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from ccar.errors import TrackingError
from ccar.tracking.run_pages import StudyPage, study_pages

ASK_SECONDS = 20.0  # between two questions


class Elsewhere:
    """What an MLflow server has, as of a moment ago."""

    def __init__(self, server: str, has_changed: Callable[[], None]) -> None:
        """Nothing is asked yet.

        Args:
            server: its address; empty: there is none.
            has_changed: called, by another thread, when there is something new to show.
        """
        self.studies: Sequence[StudyPage] = []
        self.problem = ""  # why the server was of no use last time
        self._server = server
        self._has_changed = has_changed
        self._asked_at = -ASK_SECONDS
        self._lock = threading.Lock()

    def is_asked(self) -> None:
        """Somebody is looking at a page. Does not wait for the server."""
        with self._lock:
            now = time.monotonic()
            if not self._server or now - self._asked_at < ASK_SECONDS:
                return
            self._asked_at = now
        threading.Thread(target=self._ask, name="ccar-elsewhere", daemon=True).start()

    def _ask(self) -> None:
        studies, problem = self.studies, ""
        try:
            studies = study_pages(self._server)
        except TrackingError as error:
            problem = str(error)
        if (studies, problem) != (self.studies, self.problem):
            self.studies, self.problem = studies, problem
            self._has_changed()
