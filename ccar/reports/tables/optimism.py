"""What a look at the test set would have claimed, beside what the honest choice reaches."""

from __future__ import annotations

import math

from ccar.evidence.cells import PRIMARY_NAME
from ccar.evidence.frames import rows_of
from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Row, Table
from ccar.reports.wording import MISSING, percent, points


def optimism_table(results: Results) -> Table | None:
    """One row per base loss and imbalance factor; None without a choice that has test results."""
    if results.optimism.empty:
        return None
    rows: list[Row] = []
    for setting in results.settings:
        for index, row in enumerate(rows_of(setting.of(results.optimism))):
            entries = (
                Entry(setting.label if index == 0 else ""),
                Entry(row.family),
                Entry(f"{row.omega:g}"),
                Entry(percent(row.mean)),
                Entry(points(row.gain)),
                Entry(points(row.left_out_gain)),
                Entry(MISSING if math.isnan(row.left_out_same) else f"{row.left_out_same:.0%}".replace("%", " %")),
                Entry(f"{row.picked_omega:g}"),
                Entry(percent(row.picked_mean)),
                Entry(points(row.optimism), tone="bad" if row.optimism > 0 else ""),
            )
            rows.append(Row(entries, starts_block=index == 0 and bool(rows)))
    honest, picked = "chosen on validation", "picked on the test set"
    return Table(
        name="optimism",
        caption="What picking ω on the test set would have claimed. Left: ω chosen on validation data, its "
        f"{PRIMARY_NAME} in per cent, and its gain over the plain base loss in percentage points; without its seed: "
        "the same gain when the ω of each seed is chosen on the validation results of the other seeds alone, and how "
        "often that is the same ω (a gain much below the one beside it is luck that choice and test share). Right: "
        f"the ω with the highest mean {PRIMARY_NAME}, and by how many points that claims more. No verdict of this "
        "report uses the right side.",
        columns=(
            Column("", numeric=False),
            Column("base loss", numeric=False),
            Column("ω", honest),
            Column("test", honest),
            Column("gain", honest),
            Column("without its seed", honest),
            Column("same ω", honest),
            Column("ω", picked),
            Column("test", picked),
            Column("optimism", picked),
        ),
        rows=tuple(rows),
    )
