"""A report before it has a format: title, sentences, tables, figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ccar
from ccar.reports import finding
from ccar.reports.provenance import provenance_of
from ccar.reports.results import Results
from ccar.reports.table import Table
from ccar.reports.tables.all_tables import tables_of

if TYPE_CHECKING:
    from ccar.reports.figures.drawing import Drawing

METHOD_NOTE = (
    "A seed fixes the long-tailed subset, the validation part, the initialisation and the order of batches for all "
    "methods, so differences are paired by seed. Intervals are those of Student's t over the seeds, on "
    "one and the same set of test images; the bootstrap's (BCa), exact sign-flip p-values and effect sizes (Hedges' g) "
    "are in cells.csv. Balanced accuracy is the mean over the classes of each one's accuracy: where "
    "all have equally many test images, as in all benchmarks here, the overall accuracy, which is in cells.csv too. "
    "Every accuracy is that of the last epoch; those of the best "
    "validation epoch are in cells.csv and trials.csv. The test set is read once, after the last epoch, and ω "
    "is chosen by code that cannot see it. In CSV and JSON files accuracies are shares in [0, 1]; times, hosts "
    "and devices are in costs.csv and in the tables of costs and machines. best_omega.yaml has the chosen losses, "
    "ready for a study file and for ccar.losses; report.json has everything (schema: ccar schema --report)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingOf:
    """What was found at one imbalance factor."""

    headline: str
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Everything that the written formats show."""

    study: str
    question: str
    was_run: str
    not_finished: str
    warnings: tuple[str, ...]
    findings: tuple[FindingOf, ...]
    certainty: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Drawing, ...]
    method_note: str
    provenance: tuple[str, ...]
    study_file: str
    version: str


def content_of(results: Results, figures: Iterable[Drawing]) -> Content:
    """Put a report together; the figures, which may still be in the making, come last."""
    warnings = (
        finding.no_choice(results),
        finding.seeds_warning(results),
        finding.ties(results),
        finding.damaged_checkpoints(results),
    )
    return Content(
        study=results.source.study,
        question=results.source.question,
        was_run=f"{finding.what_was_run(results)} {finding.images_per_class(results)}".strip(),
        not_finished=finding.what_did_not_finish(results),
        warnings=tuple(warning for warning in warnings if warning),
        findings=tuple(
            FindingOf(headline=headline, details=tuple(finding.details(results, setting)))
            for setting in results.settings
            if (headline := finding.headline(results, setting)) is not None
        ),
        certainty=tuple(
            said for said in (finding.multiplicity(results), finding.claimed_by_test_picking(results)) if said
        ),
        tables=tuple(tables_of(results)),
        method_note=METHOD_NOTE,
        provenance=tuple(provenance_of(results)),
        study_file=results.source.study_file,
        version=ccar.__version__,
        figures=tuple(figures),
    )
