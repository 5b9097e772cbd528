"""What the study took in hours of training, and each claim of it."""

from __future__ import annotations

from typing import Any

from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Row, Table
from ccar.reports.tables.entries import rows_by_setting
from ccar.reports.wording import counted, hours, listed


def costs_table(results: Results) -> Table | None:
    """One row per claim and one for the whole study; None before anything was trained."""
    costs = results.costs
    if costs.hours == 0:
        return None

    def entries(claim: Any) -> tuple[Entry, ...]:  # noqa: ANN401  (a row of a frame)
        return (
            Entry(claim.family),
            Entry(f"{claim.cells:,}"),
            Entry(f"{claim.trials:,}"),
            Entry(hours(claim.hours)),
        )

    claims = rows_by_setting(results, results.claims, entries)
    total = (
        Entry("all"),
        Entry("every table and figure"),
        Entry(f"{len(results.cells):,}"),
        Entry(f"{len(results.trials):,}"),
        Entry(hours(costs.hours), bold=True),
    )
    devices = listed([f"{hours(time)} on {device}" for device, time in costs.hours_by_device.items()])
    cheapest, dearest = costs.hours_of_cell.min(), costs.hours_of_cell.max()
    spared = [
        f"{counted(costs.num_from_store, 'trial')} ({hours(costs.hours_from_store)}) had been trained before this "
        "study was first run, and were taken from the store."
        if costs.num_from_store
        else "",
        f"Early stopping ended {counted(costs.num_stopped, 'trial')} and spared about "
        f"{hours(costs.hours_spared_by_stopping)}, at the pace that they had."
        if costs.num_stopped
        else "",
    ]
    return Table(
        name="costs",
        caption="Device-hours: training and validation time of all trials, however they ended; trials that share a "
        "device count in full each. The claim about a base loss rests on its plain cell and every ω that was tried. "
        f"All: {devices}; a cell took {hours(cheapest)} to {hours(dearest)} (costs.csv has every trial). "
        + " ".join(said for said in spared if said),
        columns=(
            Column("", numeric=False),
            Column("claim about", numeric=False),
            Column("cells"),
            Column("trials"),
            Column("device-hours"),
        ),
        rows=(*claims, Row(total, starts_block=bool(claims))),
    )
