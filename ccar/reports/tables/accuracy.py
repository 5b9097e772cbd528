"""Balanced test accuracy of every method at every imbalance factor: the paper's own shape."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from ccar.evidence.cells import PRIMARY, PRIMARY_NAME
from ccar.evidence.frames import rows_of
from ccar.reports.results import Results, Setting
from ccar.reports.table import Column, Entry, Row, Table
from ccar.reports.tables.entries import PERCENT_LEVEL, estimate, num_seeds
from ccar.reports.wording import MISSING

MAX_SETTINGS_WITH_FEW = 3  # beyond that the table is wider than a page, and few-shot accuracy is left to cells.csv


def accuracy_table(results: Results) -> Table:
    """Rows are methods by base loss, columns imbalance factors."""
    settings = results.settings
    cells = {(row.method, row.data, row.imbalance_factor): row for row in rows_of(results.cells)}
    with_few = [
        setting
        for setting in settings
        if len(settings) <= MAX_SETTINGS_WITH_FEW and setting.of(results.cells)["test_few_mean"].notna().any()
    ]
    columns = [Column("method", numeric=False)]
    best: dict[tuple[Setting, str], float] = {}
    for setting in settings:
        columns.append(Column("accuracy", setting.label))
        best[setting, PRIMARY] = _highest(setting.of(results.cells), PRIMARY)
        if setting in with_few:
            columns.append(Column("few-shot", setting.label))
            best[setting, "test_few"] = _highest(setting.of(results.cells), "test_few")
    rows = []
    family: str | None = None
    for method, first in results.cells.drop_duplicates("method").set_index("method").iterrows():
        entries = [Entry(f"{method} (baseline)" if first["is_baseline"] else str(method))]
        for setting in settings:
            cell = cells.get((method, setting.data, setting.imbalance_factor))
            metrics = [PRIMARY, "test_few"] if setting in with_few else [PRIMARY]
            entries += [_accuracy(cell, metric, best[setting, metric]) for metric in metrics]
        rows.append(Row(tuple(entries), starts_block=family is not None and first["family"] != family))
        family = first["family"]
    return Table(
        name="accuracy",
        caption=f"{PRIMARY_NAME.capitalize()} in per cent, after the last epoch: {_seeds_of(results)} "
        + ("Few-shot: classes with fewer than 20 training images. " if with_few else "")
        + "Bold: highest mean of its column among cells with all their seeds, where they differ, which is a reading of "
        "the test set and no choice.",
        columns=tuple(columns),
        rows=tuple(rows),
    )


def _accuracy(cell: Any, metric: str, best: float) -> Entry:  # noqa: ANN401  (a row of a frame)
    if cell is None:
        return Entry(MISSING, tone="quiet")
    mean, n = getattr(cell, f"{metric}_mean"), getattr(cell, f"{metric}_n")
    return estimate(cell, metric, cell.planned, bold=n == cell.planned and mean == best)


def _highest(cells: pd.DataFrame, metric: str) -> float:
    complete = cells[(cells[f"{metric}_n"] == cells["planned"]) & (cells[f"{metric}_n"] > 0)]
    means = complete[f"{metric}_mean"]
    return float(means.max()) if means.round(9).nunique() > 1 else math.nan


def _seeds_of(results: Results) -> str:
    """How many numbers stand behind each mean."""
    if (results.cells["planned"] == 1).all():
        return "one seed, so there is no interval."
    return (
        f"mean ± half the width of its {PERCENT_LEVEL} interval (Student's t) over {num_seeds(results)}; n is given "
        "where fewer finished."
    )
