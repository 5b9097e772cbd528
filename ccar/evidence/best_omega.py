"""What the chosen omegas reach on the test set: read only here, after the choice."""

from __future__ import annotations

import pandas as pd

from ccar.evidence.cells import plain_cells, reference_cells
from ccar.evidence.paired import paired_differences
from ccar.evidence.selection import CRITERION

TEST_METRICS = ["test_accuracy", "test_balanced_accuracy", "test_many", "test_medium", "test_few"]


def best_omegas(
    choices: pd.DataFrame, trials: pd.DataFrame, cells: pd.DataFrame, *, metric: str = "test_accuracy"
) -> pd.DataFrame:
    """The choices of `select_omega`, with their test results and how they differ from what they should beat.

    Args:
        choices: from `select_omega`.
        trials: from `with_test_results`.
        cells: from `summarise_cells(trials, baseline)`.
        metric: the test metric of the differences; larger is better.

    Returns:
        The columns of `choices`, then `plain_cell` (NaN: the study lacks it), mean and standard deviation of
        each test metric, the same of `metric` and of the criterion for the plain cell under `plain_*`, and
        `versus_plain_*` and `versus_baseline_*`: mean, sd, n, low, high, verdict of the differences paired by
        seed. A choice that is the baseline itself has no difference to it.
    """
    chosen = choices["cell"]
    by_cell = cells.set_index("cell", drop=False)
    plain_of = plain_cells(cells)
    plain = chosen.map(plain_of).astype("str")
    joined = choices.assign(
        plain_cell=plain,
        **{
            f"{name}_{part}": chosen.map(by_cell[f"{name}_{part}"])
            for name in TEST_METRICS
            for part in ("mean", "sd", "n")
        },
        **{
            f"plain_{name}_{part}": plain.map(by_cell[f"{name}_{part}"]).astype("float64")
            for name in (metric, CRITERION)
            for part in ("mean", "sd")
        },
    )
    for name, reference_of in (("plain", plain_of), ("baseline", reference_cells(cells))):
        wanted = {cell: reference_of[cell] for cell in chosen if cell in reference_of}
        difference = paired_differences(trials, metric, wanted).drop(columns="reference").reindex(chosen)
        difference["n"] = difference["n"].fillna(0).astype("int64")
        joined = joined.join(difference.add_prefix(f"versus_{name}_").reset_index(drop=True))
    return joined
