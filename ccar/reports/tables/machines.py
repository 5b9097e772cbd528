"""What trained the trials: numbers may differ in their last digits between processors and versions of libraries."""

from __future__ import annotations

import pandas as pd

from ccar.evidence.frames import rows_of
from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Row, Table
from ccar.reports.wording import MISSING

_MACHINE = ["host", "device", "processor", "threads", "versions"]


def machines_of(costs: pd.DataFrame) -> pd.DataFrame:
    """One row per kind of machine and set of library versions, with the number of `trials` there."""
    began = costs[costs["host"].notna()].drop_duplicates("key")
    return began.groupby(_MACHINE, sort=False, dropna=False).size().reset_index(name="trials")


def machines_table(results: Results) -> Table | None:
    """One row per machine; None before anything was trained."""
    machines = machines_of(results.source.costs)
    if machines.empty:
        return None
    rows = tuple(
        Row(
            (
                *(Entry(MISSING if pd.isna(value) else str(value)) for value in machine),
                Entry(f"{trials:,}"),
            )
        )
        for *machine, trials in rows_of(machines.astype({"threads": "Int64"}))
    )
    return Table(
        name="machines",
        caption="What trained the trials. On the CPU, equal versions on equal processors with as many threads give "
        "equal numbers, bit for bit; others may differ in the last digits, and then in all. costs.csv has it for every "
        "trial.",
        columns=(
            Column("host", numeric=False),
            Column("device", numeric=False),
            Column("processor", numeric=False),
            Column("threads"),
            Column("versions", numeric=False),
            Column("trials"),
        ),
        rows=rows,
    )
