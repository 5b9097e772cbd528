"""What every page has at hand: the studies of a store, and where MLflow shows their runs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from ccar.errors import StoreError
from ccar.reports.results import Results
from ccar.store.records import TrialRecord
from ccar.training.result import TestResult
from dashboards.elements import Content, link, note
from dashboards.elsewhere import Elsewhere
from dashboards.importances import Importances
from dashboards.library import Library
from dashboards.stored_study import StudyState


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Attributes:
    library: the studies.
    cache_dir: of decoded images.
    elsewhere: what MLflow's server has from other stores.
    mlflow: address of its pages; empty: there are none.
    importances: what explains the accuracies, as far as somebody has asked.
    """

    library: Library
    cache_dir: Path
    elsewhere: Elsewhere
    mlflow: str = ""
    importances: Importances = field(default_factory=Importances)

    @classmethod
    def on(cls, library: Library, cache_dir: Path, mlflow: str) -> Desk:
        """A desk whose pages follow these studies and this MLflow server."""
        return cls(library=library, cache_dir=cache_dir, elsewhere=Elsewhere(mlflow, library.touch), mlflow=mlflow)

    def state(self, name: str) -> StudyState:
        """A study that is known to be there."""
        state = self.library.state(name)
        assert state is not None, "pages of a study are shown only for a study"
        return state

    def record(self, key: str) -> TrialRecord | None:
        """What the store has of a trial; None where that is damaged or being deleted."""
        try:
            return self.library.store.read(key)
        except (StoreError, OSError):
            return None

    def test(self, key: str) -> TestResult | None:
        """The test results of a finished trial."""
        try:
            return self.library.store.read_test(key)
        except (StoreError, OSError):
            return None

    def run_command(self, file: str) -> str:
        """What to type to run a study so that it is seen here."""
        return f"ccar run {file} --store {shlex.quote(self.library.store.address)}"

    def missing_study(self, name: str) -> list[Content]:
        """What is shown instead of a study that is not, or no longer, in the store."""
        why = self.library.unreadable.get(name) or self.library.problem
        if not why and not self.library.has_looked:
            return [note("The store is being read ...")]
        return [
            note(why or f"The store has no study {name!r}; it may have been deleted."),
            link("All studies", "/"),
        ]

    def troubles(self, name: str) -> list[Content]:
        """Why a page of a study may not be as the store is."""
        stale, unsummed = self.library.problem, self.library.unsummed.get(name)
        said = [
            f"The store cannot be read at the moment: {stale}" if stale else "",
            f"The numbers of this study cannot be summed up: {unsummed}" if unsummed else "",
        ]
        return [note(text) for text in said if text]

    def results(self, state: StudyState) -> tuple[Results | None, list[Content]]:
        """The numbers of a study's report, and what is said where there are none yet, or none of now."""
        if state.study is None:
            return None, [note(problem) for problem in state.problems]
        if not state.is_whole:
            return None, [note(f"The store is being read: {state.num_read:,} of {len(state.trials):,} trials ...")]
        results = self.library.results(state.name)
        if results is None:
            is_coming = state.name not in self.library.unsummed
            return results, [note("The numbers are being summed up ...")] if is_coming else []
        is_behind = self.library.is_behind(state.name)
        return results, [note("The study has gone on since; newer numbers follow in a moment.")] if is_behind else []
