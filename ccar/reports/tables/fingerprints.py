"""Which images each seed stands for."""

from __future__ import annotations

from ccar.evidence.frames import rows_of
from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Row, Table
from ccar.reports.wording import MISSING

DIGITS = 12  # of sha256, 48 bits: enough to tell apart what one report has


def fingerprints_table(results: Results) -> Table:
    """One row per seed, one column per imbalance factor."""
    trials = results.trials.drop_duplicates(["data", "imbalance_factor", "seed"])
    found = {
        (row.seed, row.data, row.imbalance_factor): row.data_fingerprint[:DIGITS]
        for row in rows_of(trials[["seed", "data", "imbalance_factor", "data_fingerprint"]])
    }
    return Table(
        name="fingerprints",
        caption="The images of each seed: the first digits of the sha256 of their bytes and of which of them are "
        "trained and validated on. Equal digits are equal images; report.json has all digits.",
        columns=(
            Column("seed", numeric=False),
            *(Column(setting.label, numeric=False) for setting in results.settings),
        ),
        rows=tuple(
            Row(
                (
                    Entry(str(seed)),
                    *(Entry(found.get((seed, each.data, each.imbalance_factor), MISSING)) for each in results.settings),
                )
            )
            for seed in dict.fromkeys(trials["seed"])
        ),
    )
