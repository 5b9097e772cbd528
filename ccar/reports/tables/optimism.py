"""What a look at the test set would have claimed, beside what the honest choice reaches."""

from __future__ import annotations

import math
from typing import Any

from ccar.evidence.cells import PRIMARY_NAME
from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Table
from ccar.reports.tables.entries import needs_method, rows_by_setting
from ccar.reports.wording import MISSING, percent, points


def optimism_table(results: Results) -> Table | None:
    """One row per base loss and imbalance factor; None without a choice that has test results."""
    if results.optimism.empty:
        return None
    names_differ = needs_method(results)
    method_of = dict(zip(results.cells["cell"], results.cells["method"], strict=True))

    def entries(row: Any) -> tuple[Entry, ...]:  # noqa: ANN401  (a row of a frame)
        return (
            Entry(method_of[row.cell] if names_differ else row.family),
            Entry(f"{row.omega:g}"),
            Entry(percent(row.mean)),
            Entry(points(row.gain)),
            Entry(points(row.left_out_gain)),
            Entry(MISSING if math.isnan(row.left_out_same) else f"{row.left_out_same:.0%}".replace("%", " %")),
            Entry(method_of[row.picked_cell] if names_differ else f"{row.picked_omega:g}"),
            Entry(percent(row.picked_mean)),
            Entry(points(row.optimism), tone="bad" if row.optimism > 0 else ""),
        )

    honest, picked = "chosen on validation", "picked on the test set"
    return Table(
        name="optimism",
        caption="What picking ω on the test set would have claimed. Left: the candidate chosen on validation data, its "
        f"{PRIMARY_NAME} in per cent, and its gain over the plain base loss in percentage points; without its seed: "
        "the same gain when the choice for each seed is made on the validation results of the other seeds alone, and "
        "how often that is the same choice (a gain much below the one beside it is luck that choice and test share; "
        f"{MISSING}: not to be told, with one seed or a tie on validation). "
        f"Right: the candidate with the highest mean {PRIMARY_NAME}, and by how many points that claims more. No "
        "verdict of this report uses the right side.",
        columns=(
            Column("", numeric=False),
            Column("chosen method" if names_differ else "base loss", numeric=False),
            Column("ω", honest),
            Column("test", honest),
            Column("gain", honest),
            Column("without its seed", honest),
            Column("same choice", honest),
            Column("method", picked, numeric=False) if names_differ else Column("ω", picked),
            Column("test", picked),
            Column("optimism", picked),
        ),
        rows=rows_by_setting(results, results.optimism, entries),
    )
