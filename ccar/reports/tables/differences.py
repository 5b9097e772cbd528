"""How far every method is from the baseline, and whether that is more than noise."""

from __future__ import annotations

from ccar.evidence.cells import PRIMARY, PRIMARY_NAME
from ccar.evidence.frames import rows_of
from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Row, Table
from ccar.reports.tables.entries import PERCENT_LEVEL, VERDICT_NOTE, difference_entries
from ccar.reports.wording import MISSING


def difference_table(results: Results) -> Table | None:
    """One row per method, one pair of columns per imbalance factor."""
    others = results.cells[~results.cells["is_baseline"]]
    if not (others[f"{PRIMARY}_difference_n"] > 0).any():
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
                else difference_entries(cell, f"{PRIMARY}_difference_", cell.planned)
            )
        rows.append(Row(tuple(entries), starts_block=family is not None and first["family"] != family))
        family = first["family"]
    return Table(
        name="differences",
        caption=f"Difference in {PRIMARY_NAME} to the baseline {results.source.baseline}, in percentage points, over "
        f"the seeds that both have finished, with its {PERCENT_LEVEL} interval (Student's t on paired differences, of "
        f"each difference alone). {VERDICT_NOTE}",
        columns=tuple(columns),
        rows=tuple(rows),
    )
