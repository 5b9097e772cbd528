"""What accuracy does not tell: the class that is recognised worst, and how far confidence is to be trusted."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ccar.evidence.frames import rows_of
from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Row, Table
from ccar.reports.tables.entries import PERCENT_LEVEL, estimate, num_seeds
from ccar.reports.wording import MISSING


def calibration_table(results: Results) -> Table | None:
    """One row per base loss and imbalance factor, plain beside the chosen omega; None without results."""
    cells = results.cells[results.cells["test_ece_n"] > 0]
    if cells.empty:
        return None
    chosen = set(results.choices["cell"])
    rows: list[Row] = []
    for setting in results.settings:
        here = setting.of(cells)
        for index, family in enumerate(dict.fromkeys(here["family"])):
            own = here[here["family"] == family]
            pair = [_first(own[own["omega"].isna()]), _first(own[own["cell"].isin(chosen)])]
            entries = (
                Entry(setting.label if index == 0 else ""),
                Entry(family),
                *(_entry(cell, metric) for metric in ("test_worst_class", "test_ece") for cell in pair),
            )
            rows.append(Row(entries, starts_block=index == 0 and bool(rows)))
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
        rows=tuple(rows),
    )


def _first(cells: pd.DataFrame) -> Any:  # noqa: ANN401  (a row of a frame)
    return next(iter(rows_of(cells.head(1))), None)


def _entry(cell: Any, metric: str) -> Entry:  # noqa: ANN401  (a row of a frame)
    return Entry(MISSING, tone="quiet") if cell is None else estimate(cell, metric, cell.planned)
