"""What the chosen omegas reach on the test set: read only here, after the choice."""

from __future__ import annotations

import pandas as pd

from ccar.evidence.cells import PRIMARY, plain_cells
from ccar.evidence.paired import PARTS
from ccar.evidence.selection import CRITERION

TEST_METRICS = ["test_accuracy", "test_balanced_accuracy", "test_many", "test_medium", "test_few"]
_SUMMARY = ("mean", "sd", "n", "half_width")


def best_omegas(choices: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The choices of `select_omega`, with their test results and how they differ from what they should beat.

    Args:
        choices: from `select_omega`.
        cells: from `summarise_cells`, with test results and a baseline.

    Returns:
        The columns of `choices`, then `plain_cell` (NaN: the study lacks it); mean, sd, n and half width of each test
        metric; the same of the primary metric and of the criterion for the plain cell, under `plain_*`; and the
        differences of the primary metric, `versus_plain_*` and `versus_baseline_*`, with the parts of
        `paired_differences` and the ends of the bootstrap interval. Their verdicts are corrected for *all* candidates,
        since each of them might have been chosen. A choice that is the baseline itself has no difference to it.
    """
    chosen = choices["cell"]
    by_cell = cells.set_index("cell", drop=False)
    plain = chosen.map(plain_cells(cells)).astype("str")
    columns = {
        **{f"{name}_{part}": chosen.map(by_cell[f"{name}_{part}"]) for name in TEST_METRICS for part in _SUMMARY},
        **{
            f"plain_{name}_{part}": plain.map(by_cell[f"{name}_{part}"]).astype("float64")
            for name in (PRIMARY, CRITERION)
            for part in _SUMMARY
        },
        **{
            f"{name}_{part}": chosen.map(by_cell[f"{PRIMARY}_{source}_{part}"])
            for name, source in (("versus_plain", "versus_plain"), ("versus_baseline", "difference"))
            for part in [*PARTS, "bca_low", "bca_high"]
        },
    }
    return choices.assign(plain_cell=plain, **columns)
