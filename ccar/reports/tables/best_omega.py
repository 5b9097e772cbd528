"""The omega chosen on validation for each base loss, and what it is worth on the test set."""

from __future__ import annotations

from ccar.evidence.cells import PRIMARY, PRIMARY_NAME
from ccar.evidence.frames import SETTING, rows_of
from ccar.evidence.selection import CRITERION
from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Row, Table
from ccar.reports.tables.entries import PERCENT_LEVEL, VERDICT_NOTE, difference_entries, estimate, num_seeds


def best_omega_table(results: Results) -> Table | None:
    """One row per base loss and imbalance factor."""
    choices = results.choices
    if choices.empty:
        return None
    names_differ = _needs_method(results)
    planned = dict(zip(results.cells["cell"], results.cells["planned"], strict=True))
    rows: list[Row] = []
    for setting in results.settings:
        for index, row in enumerate(rows_of(setting.of(choices))):
            entries = (
                Entry(setting.label if index == 0 else ""),
                Entry(row.method if names_differ else row.family),
                Entry(f"{row.omega:g}"),
                estimate(row, CRITERION, planned[row.cell]),
                estimate(row, PRIMARY, planned[row.cell]),
                *difference_entries(row, "versus_plain_", planned[row.cell]),
                *difference_entries(row, "versus_baseline_", planned[row.cell]),
            )
            rows.append(Row(entries, starts_block=index == 0 and bool(rows)))
    return Table(
        name="best_omega",
        caption="Best ω for each base loss, chosen on validation data alone: the highest mean validation balanced "
        f"accuracy over {num_seeds(results)}, all other switches competing too. Accuracies in per cent, mean ± half "
        f"the width of the {PERCENT_LEVEL} interval; differences in {PRIMARY_NAME} are paired by seed, in "
        f"percentage points, with their {PERCENT_LEVEL} interval (Student's t, of each difference alone). n is given "
        f"where fewer seeds finished. {VERDICT_NOTE} The comparisons are those of all candidates, since each "
        "might have been chosen.",
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


def _needs_method(results: Results) -> bool:
    """Whether omega alone does not tell the candidates of a base loss apart."""
    reweighted = results.cells[results.cells["omega"].notna()]
    return bool(reweighted.duplicated([*SETTING, "family", "omega"]).any())
