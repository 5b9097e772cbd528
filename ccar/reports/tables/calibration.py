"""What accuracy does not tell: the class that is recognised worst, and how far confidence is to be trusted."""

from __future__ import annotations

from typing import Any

from ccar.evidence.frames import FIELD, rows_of
from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Table
from ccar.reports.tables.entries import PERCENT_LEVEL, estimate, num_seeds, rows_by_setting
from ccar.reports.wording import MISSING


def calibration_table(results: Results) -> Table | None:
    """One row per base loss and imbalance factor, plain beside the chosen omega; None without results."""
    cells = results.cells[results.cells["test_ece_n"] > 0]
    if cells.empty:
        return None
    plain, chosen = cells["omega"].isna(), cells["cell"].isin(results.choices["cell"])
    pairs = [{_field(row): row for row in rows_of(own.drop_duplicates(FIELD))} for own in (cells[plain], cells[chosen])]

    def entries(row: Any) -> tuple[Entry, ...]:  # noqa: ANN401  (a row of a frame)
        pair = [found.get(_field(row)) for found in pairs]
        return (
            Entry(row.family),
            *(_entry(cell, metric) for metric in ("test_worst_class", "test_ece") for cell in pair),
        )

    return Table(
        name="calibration",
        caption="Accuracy on the class that is recognised worst (which may be another one for every seed), and "
        "expected calibration error (ECE, 15 bins: the mean distance of confidence and accuracy; smaller is better), "
        f"on the test set in per cent: mean ± half the width of its {PERCENT_LEVEL} interval (Student's t) over "
        f"{num_seeds(results)}. Plain: the base loss itself; with ω: with the one chosen on validation.",
        columns=(
            Column("", numeric=False),
            Column("base loss", numeric=False),
            Column("plain", "worst class"),
            Column("with ω", "worst class"),
            Column("plain", "ECE"),
            Column("with ω", "ECE"),
        ),
        rows=rows_by_setting(results, cells.drop_duplicates(FIELD), entries),
    )


def _field(row: Any) -> tuple[str, ...]:  # noqa: ANN401  (a row of a frame)
    return tuple(getattr(row, name) for name in FIELD)


def _entry(cell: Any, metric: str) -> Entry:  # noqa: ANN401  (a row of a frame)
    return Entry(MISSING, tone="quiet") if cell is None else estimate(cell, metric, cell.planned)
