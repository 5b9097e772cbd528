"""Cells with seeds that did not finish: shown, since a mean over the others may flatter."""

from __future__ import annotations

import pandas as pd

from ccar.evidence.cells import STATUSES
from ccar.evidence.frames import rows_of
from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Row, Table


def incomplete_table(results: Results) -> Table | None:
    """One row per such cell; None when all have finished."""
    cells = results.cells[results.cells["finished"] < results.cells["planned"]]
    if cells.empty:
        return None
    shown = [status for status in STATUSES if status == "finished" or (cells[status] > 0).any()]
    errors = _errors(results.trials)
    rows = tuple(
        Row(
            (
                Entry(row.cell),
                *(
                    Entry(str(count), tone="" if status == "finished" or not count else "bad")
                    for status in shown
                    for count in [getattr(row, status)]
                ),
                Entry(str(row.planned)),
                *([Entry(errors.get(row.cell, ""))] if errors else []),
            )
        )
        for row in rows_of(cells)
    )
    return Table(
        name="incomplete",
        caption="Cells with seeds that did not finish. They are in no mean; a cell with fewer finished seeds than "
        "others of its base loss cannot be chosen. Diverged: a loss or a weight was no longer finite. Stopped: "
        "ended by early stopping. Failed: the code raised an error, and the next run tries again.",
        columns=(
            Column("cell", numeric=False),
            *(Column(status) for status in shown),
            Column("planned"),
            *([Column("first error", numeric=False)] if errors else []),
        ),
        rows=rows,
    )


def _errors(trials: pd.DataFrame) -> dict[str, str]:
    broken = trials[trials["status"].isin(["failed", "diverged"]) & trials["error"].notna()]
    first = broken.drop_duplicates("cell")
    return dict(zip(first["cell"], first["error"], strict=True))
