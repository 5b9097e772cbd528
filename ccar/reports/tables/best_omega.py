"""The omega chosen on validation for each base loss, and what it is worth on the test set."""

from __future__ import annotations

from typing import Any

from ccar.evidence.cells import PRIMARY, PRIMARY_NAME
from ccar.evidence.selection import CRITERION
from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Table
from ccar.reports.tables.entries import (
    PERCENT_LEVEL,
    VERDICT_NOTE,
    difference_entries,
    estimate,
    needs_method,
    num_seeds,
    rows_by_setting,
)
from ccar.reports.wording import TIE_RULE


def best_omega_table(results: Results) -> Table | None:
    """One row per base loss and imbalance factor."""
    choices = results.choices
    if choices.empty:
        return None
    names_differ = needs_method(results)
    planned = dict(zip(results.cells["cell"], results.cells["planned"], strict=True))

    def entries(row: Any) -> tuple[Entry, ...]:  # noqa: ANN401  (a row of a frame)
        return (
            Entry(row.method if names_differ else row.family),
            Entry(f"{row.omega:g}" + (f" (tie of {row.tied})" if row.tied > 1 else "")),
            estimate(row, CRITERION, planned[row.cell]),
            estimate(row, PRIMARY, planned[row.cell]),
            *difference_entries(row, "versus_plain_", planned[row.cell]),
            *difference_entries(row, "versus_baseline_", planned[row.cell]),
        )

    return Table(
        name="best_omega",
        caption="Best ω for each base loss, chosen on validation data alone: the highest mean validation balanced "
        f"accuracy over {num_seeds(results)}, all other switches competing too. "
        + (f"Tie: so many candidates share that mean; {TIE_RULE}. " if (choices["tied"] > 1).any() else "")
        + f"Accuracies in per cent, mean ± half the width of the {PERCENT_LEVEL} interval; differences in "
        f"{PRIMARY_NAME} are paired by seed, in percentage points, with their {PERCENT_LEVEL} interval (Student's t, "
        f"of each difference alone). n is given where fewer seeds finished. {VERDICT_NOTE} The comparisons are those "
        "of all candidates, since each might have been chosen.",
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
        rows=rows_by_setting(results, choices, entries),
    )
