"""The tables of a report, each as a pure function of its results."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from ccar.evidence.cells import STATUSES
from ccar.evidence.frames import SETTING, rows_of
from ccar.evidence.paired import LEVEL
from ccar.evidence.selection import CRITERION
from ccar.reports.published_table import published_table
from ccar.reports.results import Results, Setting
from ccar.reports.table import Column, Entry, Row, Table, Tone
from ccar.reports.wording import MISSING, counted, interval, percent, points

MAX_SETTINGS_WITH_FEW = 3  # beyond that the table is wider than a page, and few-shot accuracy is left to cells.csv
_TONES: dict[str, Tone] = {"better": "good", "worse": "bad"}
_PERCENT_LEVEL = f"{LEVEL:.0%}".replace("%", " %")


def tables_of(results: Results) -> list[Table]:
    """All tables that have something to say, in the order of the report."""
    makers: list[Callable[[Results], Table | None]] = [
        best_omega_table,  # the answer first: the others may have hundreds of rows
        accuracy_table,
        difference_table,
        published_table,
        incomplete_table,
    ]
    return [table for make in makers if (table := make(results)) is not None]


def accuracy_table(results: Results) -> Table:
    """Test accuracy of every method at every imbalance factor: the paper's own shape."""
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
        best[setting, "test_accuracy"] = _highest(setting.of(results.cells), "test_accuracy")
        if setting in with_few:
            columns.append(Column("few-shot", setting.label))
            best[setting, "test_few"] = _highest(setting.of(results.cells), "test_few")
    rows = []
    family: str | None = None
    for method, first in results.cells.drop_duplicates("method").set_index("method").iterrows():
        entries = [_method_entry(str(method), bool(first["is_baseline"]))]
        for setting in settings:
            cell = cells.get((method, setting.data, setting.imbalance_factor))
            metrics = ["test_accuracy", "test_few"] if setting in with_few else ["test_accuracy"]
            entries += [_estimate(cell, metric, best[setting, metric]) for metric in metrics]
        rows.append(Row(tuple(entries), starts_block=family is not None and first["family"] != family))
        family = first["family"]
    return Table(
        name="accuracy",
        caption=f"Test accuracy in per cent, after the last epoch: {_seeds_of(results)} "
        + ("Few-shot: classes with fewer than 20 training images. " if with_few else "")
        + "Bold: highest mean of its column among cells with all their seeds, which is a reading of the test set and "
        "no choice.",
        columns=tuple(columns),
        rows=tuple(rows),
    )


def best_omega_table(results: Results) -> Table | None:
    """The omega chosen on validation for each base loss, and what it is worth on the test set."""
    choices = results.choices
    if choices.empty:
        return None
    names_differ = _needs_method(results)
    planned = dict(zip(results.cells["cell"], results.cells["planned"], strict=True))
    rows: list[Row] = []
    for setting in results.settings:
        for index, row in enumerate(rows_of(setting.of(choices))):
            val = percent(getattr(row, f"{CRITERION}_mean"), getattr(row, f"{CRITERION}_sd"))
            entries = (
                Entry(setting.label if index == 0 else ""),
                Entry(row.method if names_differ else row.family),
                Entry(f"{row.omega:g}"),
                Entry(val),
                Entry(
                    _counted_percent(
                        row.test_accuracy_mean, row.test_accuracy_sd, row.test_accuracy_n, planned[row.cell]
                    )
                ),
                *_difference_entries(row, "versus_plain_", planned[row.cell]),
                *_difference_entries(row, "versus_baseline_", planned[row.cell]),
            )
            rows.append(Row(entries, starts_block=index == 0 and bool(rows)))
    return Table(
        name="best_omega",
        caption="Best ω for each base loss, chosen on validation data alone: the highest mean validation balanced "
        f"accuracy over {_num_seeds(results)}, all other switches competing too. Accuracies in per cent, mean ± "
        "standard deviation; differences in test accuracy are paired by seed, in percentage points, with their "
        f"{_PERCENT_LEVEL} interval (Student's t), not corrected for the number of comparisons. n is given where "
        "fewer seeds finished.",
        columns=(
            Column("", numeric=False),
            Column("chosen method" if names_differ else "base loss", numeric=False),
            Column("ω"),
            Column("validation"),
            Column("test"),
            Column("difference", "to its plain base"),
            Column("verdict", "to its plain base", numeric=False),
            Column("difference", "to the baseline"),
            Column("verdict", "to the baseline", numeric=False),
        ),
        rows=tuple(rows),
    )


def difference_table(results: Results) -> Table | None:
    """How far every method is from the baseline, and whether that is more than noise."""
    others = results.cells[~results.cells["is_baseline"]]
    if not (others["test_accuracy_difference_n"] > 0).any():
        return None
    cells = {(row.method, row.data, row.imbalance_factor): row for row in rows_of(others)}
    columns = [Column("method", numeric=False)]
    for setting in results.settings:
        columns += [Column("difference", setting.label), Column("verdict", setting.label, numeric=False)]
    rows = []
    family: str | None = None
    for method, first in others.drop_duplicates("method").set_index("method").iterrows():
        entries = [Entry(str(method))]
        for setting in results.settings:
            cell = cells.get((method, setting.data, setting.imbalance_factor))
            entries += (
                [Entry(MISSING), Entry("")]
                if cell is None
                else _difference_entries(cell, "test_accuracy_difference_", cell.planned)
            )
        rows.append(Row(tuple(entries), starts_block=family is not None and first["family"] != family))
        family = first["family"]
    return Table(
        name="differences",
        caption=f"Difference in test accuracy to the baseline {results.source.baseline}, in percentage points, over "
        f"the seeds that both have finished, with its {_PERCENT_LEVEL} interval (Student's t on paired differences, "
        "not corrected for the number of comparisons). Within noise: the interval includes 0. With fewer than three "
        "seeds nothing can be told.",
        columns=tuple(columns),
        rows=tuple(rows),
    )


def incomplete_table(results: Results) -> Table | None:
    """Cells with seeds that did not finish: shown, since a mean over the others may flatter."""
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
        "others of its base loss cannot be chosen. Diverged: the training loss was no longer finite. Stopped: ended "
        "by early stopping. Failed: the code raised an error, and the next run tries again.",
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


def _method_entry(method: str, is_baseline: bool) -> Entry:
    return Entry(f"{method} (baseline)" if is_baseline else method)


def _estimate(cell: Any, metric: str, best: float) -> Entry:  # noqa: ANN401  (a row of a frame)
    if cell is None or not getattr(cell, f"{metric}_n"):
        return Entry(MISSING, tone="quiet")
    mean, n = getattr(cell, f"{metric}_mean"), getattr(cell, f"{metric}_n")
    text = _counted_percent(mean, getattr(cell, f"{metric}_sd"), n, cell.planned)
    return Entry(text, bold=n == cell.planned and mean == best)


def _counted_percent(mean: float, sd: float, n: int, planned: int) -> str:
    text = percent(mean, sd)
    return text if n == planned or not n else f"{text} (n = {n})"


def _difference_entries(row: Any, prefix: str, planned: int) -> list[Entry]:  # noqa: ANN401  (a row of a frame)
    mean, low, high, n, verdict = (getattr(row, prefix + part) for part in ("mean", "low", "high", "n", "verdict"))
    if not n:
        return [Entry(MISSING, tone="quiet"), Entry("")]
    beside = [part for part in (interval(low, high), f"n = {n}" if n < planned else "") if part]
    text = f"{points(mean)} ({', '.join(beside)})" if beside else points(mean)
    return [Entry(text), Entry(verdict, tone=_TONES.get(verdict, "quiet"))]


def _highest(cells: pd.DataFrame, metric: str) -> float:
    complete = cells[(cells[f"{metric}_n"] == cells["planned"]) & (cells[f"{metric}_n"] > 0)]
    return float(complete[f"{metric}_mean"].max()) if len(complete) else math.nan


def _seeds_of(results: Results) -> str:
    """How many numbers stand behind each mean."""
    if (results.cells["planned"] == 1).all():
        return "one seed, so there is no spread."
    return f"mean ± standard deviation over {_num_seeds(results)}; n is given where fewer finished."


def _num_seeds(results: Results) -> str:
    fewest, most = results.cells["planned"].min(), results.cells["planned"].max()
    return counted(most, "seed") if fewest == most else f"{fewest} to {most} seeds"


def _needs_method(results: Results) -> bool:
    """Whether omega alone does not tell the candidates of a base loss apart."""
    reweighted = results.cells[results.cells["omega"].notna()]
    return bool(reweighted.duplicated([*SETTING, "family", "omega"]).any())
