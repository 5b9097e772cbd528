"""What the chosen omegas reach on the test set: read only here, after the choice."""

from __future__ import annotations

import pandas as pd

from ccar.evidence.cells import plain_cells, reference_cells, summarise_cells
from ccar.evidence.frames import ValidationFrame
from ccar.evidence.paired import paired_differences
from ccar.evidence.selection import CRITERION, select_omega
from ccar.evidence.test_results import with_test_results

TEST_METRICS = ["test_accuracy", "test_balanced_accuracy", "test_many", "test_medium", "test_few"]


def best_omegas(
    validation: ValidationFrame, tests: pd.DataFrame, baseline: str, *, metric: str = "test_accuracy"
) -> pd.DataFrame:
    """The choice of `select_omega`, with its test results and how they differ from what it should beat.

    Args:
        validation: from `validation_frame`; the only thing that the choice depends on.
        tests: from `test_frame`.
        baseline: the method that all others are compared with.
        metric: the test metric of the differences; larger is better.

    Returns:
        The columns of `select_omega`, then `plain_cell` (NaN: the study lacks it), mean and standard deviation of
        each test metric, the same of `metric` and of the criterion for the plain cell under `plain_*`, and
        `versus_plain_*` and `versus_baseline_*`: mean, sd, n, low, high, verdict of the differences paired by
        seed. A choice that is the baseline itself has no difference to it.
    """
    choices = select_omega(validation)
    trials = with_test_results(validation, tests)
    cells = summarise_cells(trials, baseline).set_index("cell", drop=False)
    chosen = choices["cell"]
    plain_of = plain_cells(cells)
    plain = chosen.map(plain_of)
    results = {f"{name}_{part}": cells[f"{name}_{part}"] for name in TEST_METRICS for part in ("mean", "sd", "n")}
    joined = choices.assign(
        plain_cell=plain.astype("str"),
        **{name: chosen.map(column) for name, column in results.items()},
        **{
            f"plain_{name}_{part}": plain.map(cells[f"{name}_{part}"]).astype("float64")
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
