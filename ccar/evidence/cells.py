"""One row per cell: its seeds counted, summarised, and compared with the baseline."""

from __future__ import annotations

from typing import get_args

import pandas as pd

from ccar.evidence.frames import EVALUATION_METRICS, SETTING
from ccar.evidence.paired import paired_differences
from ccar.store.records import TrialStatus

STATUSES: tuple[str, ...] = get_args(TrialStatus)
IDENTITY = [  # the columns of a trial that its cell shares
    "cell",
    "method",
    "base",
    "base_options",
    "family",
    "omega",
    "frequency",
    "phase",
    "confidence",
    "gradient",
    "keep_z",
    "effective_number_beta",
    "reduction",
    "imbalance_factor",
    "data",
    "validation_per_class",
    "model",
    "recipe",
]
METRICS = [
    *(f"val_{metric}" for metric in EVALUATION_METRICS),
    *(f"test_{metric}" for metric in EVALUATION_METRICS),
    "val_best_balanced_accuracy",
    "test_best_accuracy",
    "test_best_balanced_accuracy",
]
COMPARED = ["val_balanced_accuracy", "test_accuracy", "test_balanced_accuracy", "test_many", "test_medium", "test_few"]


def summarise_cells(trials: pd.DataFrame, baseline: str | None = None) -> pd.DataFrame:
    """Counts, means, spreads, and differences to the baseline.

    Args:
        trials: a validation frame, with or without test columns joined to it.
        baseline: the method that the others of the same setting are compared with; None: no comparison.

    Returns:
        One row per cell in the order of the plan: `IDENTITY`; `is_baseline`; `planned` and one count per status;
        for each metric M that `trials` has: `M_mean`, `M_sd` (ddof 1, NaN for one seed), `M_n`; for each compared
        metric also `M_difference_mean`, `_sd`, `_n`, `_low`, `_high`, `_verdict` (see `paired_differences`).
        Only finished trials enter a mean; the counts say what is missing.
    """
    cells = trials.drop_duplicates("cell")[IDENTITY].set_index("cell", drop=False)
    cells.index.name = None
    cells["is_baseline"] = cells["method"] == baseline if baseline is not None else False
    cells["planned"] = trials.groupby("cell").size()
    counts = pd.crosstab(trials["cell"], trials["status"]).reindex(columns=list(STATUSES), fill_value=0)
    metrics = [metric for metric in METRICS if metric in trials.columns]
    finished = trials[trials["status"] == "finished"].groupby("cell")[metrics]
    summaries = {"mean": finished.mean(), "sd": finished.std(ddof=1), "n": finished.count()}
    reference_of = reference_cells(cells)
    parts = [cells, counts]
    for metric in metrics:
        parts.append(pd.DataFrame({f"{metric}_{name}": table[metric] for name, table in summaries.items()}))
        if metric in COMPARED:
            difference = paired_differences(trials, metric, reference_of).drop(columns="reference")
            parts.append(difference.add_prefix(f"{metric}_difference_"))
    frame = pd.concat([part.reindex(cells.index) for part in parts], axis="columns").reset_index(drop=True)
    numbers = [f"{metric}_n" for metric in metrics] + [
        f"{metric}_difference_n" for metric in metrics if metric in COMPARED
    ]
    return (
        frame.astype(dict.fromkeys(numbers, "float64"))
        .fillna(dict.fromkeys(numbers, 0))
        .astype(dict.fromkeys(numbers, "int64"))
    )


def reference_cells(cells: pd.DataFrame) -> dict[str, str]:
    """For each cell that is not a baseline: the baseline of its setting, where there is one."""
    baselines = cells[cells["is_baseline"]].drop_duplicates(SETTING)[["cell", *SETTING]]
    others = cells[~cells["is_baseline"]][["cell", *SETTING]]
    pairs = others.merge(baselines, on=SETTING, suffixes=("", "_of_baseline"), validate="many_to_one")
    return dict(zip(pairs["cell"], pairs["cell_of_baseline"], strict=True))


def plain_cells(cells: pd.DataFrame) -> dict[str, str]:
    """For each re-weighted cell: the plain base loss of the same family and setting, where the study has it."""
    group = [*SETTING, "family"]
    plain = cells[cells["omega"].isna()].drop_duplicates(group)[["cell", *group]]
    pairs = cells[cells["omega"].notna()][["cell", *group]].merge(
        plain, on=group, suffixes=("", "_of_plain"), validate="many_to_one"
    )
    return dict(zip(pairs["cell"], pairs["cell_of_plain"], strict=True))
