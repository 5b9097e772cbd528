"""The tables of a report, in order."""

from __future__ import annotations

from ccar.reports.published_table import published_table
from ccar.reports.results import Results
from ccar.reports.table import Table
from ccar.reports.tables.accuracy import accuracy_table
from ccar.reports.tables.best_omega import best_omega_table
from ccar.reports.tables.calibration import calibration_table
from ccar.reports.tables.costs import costs_table
from ccar.reports.tables.differences import difference_table
from ccar.reports.tables.fingerprints import fingerprints_table
from ccar.reports.tables.incomplete import incomplete_table
from ccar.reports.tables.machines import machines_table
from ccar.reports.tables.optimism import optimism_table
from ccar.reports.tables.shape_and_scale import shape_and_scale_table


def tables_of(results: Results) -> list[Table]:
    """All tables that have something to say; the answer first, since the others may have hundreds of rows."""
    makers = (
        best_omega_table,
        shape_and_scale_table,
        optimism_table,
        accuracy_table,
        difference_table,
        calibration_table,
        published_table,
        incomplete_table,
        fingerprints_table,
        costs_table,
        machines_table,
    )
    return [table for make in makers if (table := make(results)) is not None]
