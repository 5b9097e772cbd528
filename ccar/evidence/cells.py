"""One row per cell: its seeds counted, summarised, and compared with the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import pandas as pd

from ccar.evidence.frames import EVALUATION_METRICS, FIELD, SETTING
from ccar.evidence.intervals import bca_interval, t_half_width
from ccar.evidence.paired import compare, difference_matrix, paired_moments, survivors
from ccar.store.records import TrialStatus

STATUSES: tuple[str, ...] = get_args(TrialStatus)
IDENTITY = [  # the columns of a trial that its cell shares
    "cell",
    "method",
    "base",
    "base_options",
    "procedure",
    "family",
    "training",
    "stage_one",
    "omega",
    "frequency",
    "phase",
    "confidence",
    "gradient",
    "keep_z",
    "effective_number_beta",
    "reduction",
    "loss_factor",
    "learning_rate",
    "stem",
    "imbalance_factor",
    "data",
    "data_options",
    "validation_per_class",
    "model",
    "model_options",
    "recipe",
    "recipe_changes",
    "own_recipe_changes",
    "mixing",
]
# What a study may vary beside omega; with it, these tell the re-weightings of one base loss apart.
SWITCHES = ["frequency", "effective_number_beta", "phase", "confidence", "gradient", "keep_z", "reduction"]
METRICS = [
    *(f"val_{metric}" for metric in EVALUATION_METRICS),
    *(f"test_{metric}" for metric in EVALUATION_METRICS),
    "val_best_balanced_accuracy",
    "test_best_accuracy",
    "test_best_balanced_accuracy",
]
# What the verdicts of a report are about: what omega is chosen by, read on test images. Where every class has equally
# many of them, as in all benchmarks here, it is the overall accuracy; elsewhere the head would decide that.
PRIMARY = "test_balanced_accuracy"
PRIMARY_NAME = "balanced test accuracy"
COMPARED = ["val_balanced_accuracy", "test_accuracy", "test_many", "test_medium", "test_few"]  # without one


def summarise_cells(trials: pd.DataFrame, baseline: str | None = None) -> pd.DataFrame:
    """Counts, means, spreads, and differences to what a cell should beat.

    Args:
        trials: a validation frame, with or without test columns joined to it.
        baseline: the method that the others of the same setting are compared with; None: no comparisons at all.

    Returns:
        One row per cell in the order of the plan: `IDENTITY`; `is_baseline`; `planned` and one count per status;
        for each metric M that `trials` has: `M_mean`, `M_sd` (ddof 1, NaN for one seed), `M_n`, `M_half_width` (of
        the t interval, 95 %). For the primary metric `M_difference_*`, to the baseline, and `M_versus_plain_*`, of a
        re-weighted cell to the plain one of its family: the parts of `paired_differences` and the ends of the
        bootstrap interval. All cells of a study that are compared in the same way answer one question, and their
        verdicts are corrected for each other. For the other compared metrics `M_difference_*` without verdicts.
        Only finished trials enter a mean; the counts say what is missing.
    """
    cells = trials.drop_duplicates("cell")[IDENTITY].set_index("cell", drop=False)
    cells.index.name = None
    cells["is_baseline"] = cells["method"] == baseline if baseline is not None else False
    cells["planned"] = trials.groupby("cell").size()
    counts = pd.crosstab(trials["cell"], trials["status"]).reindex(columns=list(STATUSES), fill_value=0)
    metrics = [metric for metric in METRICS if metric in trials.columns]
    parts = [cells, counts, *_summaries(trials, metrics)]
    if baseline is not None:
        reference_of = reference_cells(cells)
        for metric in metrics:
            if metric in COMPARED:
                differences = paired_moments(trials, metric, reference_of).drop(columns="reference")
                parts.append(differences.add_prefix(f"{metric}_difference_"))
            if metric == PRIMARY:
                parts.append(_judged(trials, reference_of).add_prefix(f"{PRIMARY}_difference_"))
                parts.append(_judged(trials, plain_cells(cells)).add_prefix(f"{PRIMARY}_versus_plain_"))
    frame = pd.concat([part.reindex(cells.index) for part in parts], axis="columns").reset_index(drop=True)
    numbers = [name for name in frame.columns if name.endswith("_n")]
    return (
        frame.astype(dict.fromkeys(numbers, "float64"))
        .fillna(dict.fromkeys(numbers, 0))
        .astype(dict.fromkeys(numbers, "int64"))
        .copy()  # in one piece: pandas warns who adds a column to a frame of a hundred
    )


def _summaries(trials: pd.DataFrame, metrics: list[str]) -> list[pd.DataFrame]:
    finished = trials[trials["status"] == "finished"].groupby("cell")[metrics]
    mean, sd, n = finished.mean(), finished.std(ddof=1), finished.count()
    half_width = pd.DataFrame(t_half_width(sd, n), index=sd.index, columns=sd.columns)
    tables = {"mean": mean, "sd": sd, "n": n, "half_width": half_width}
    return [pd.DataFrame({f"{metric}_{name}": table[metric] for name, table in tables.items()}) for metric in metrics]


def _judged(trials: pd.DataFrame, reference_of: Mapping[str, str]) -> pd.DataFrame:
    references = pd.Series(reference_of, dtype="str")
    differences = difference_matrix(trials, PRIMARY, references)
    low, high = bca_interval(differences)
    judged = compare(differences, survivors(trials, references)).assign(bca_low=low, bca_high=high)
    return judged.set_index(references.index)


def reference_cells(cells: pd.DataFrame) -> dict[str, str]:
    """For each cell that is not a baseline: the baseline of its setting, where there is one."""
    baselines = cells[cells["is_baseline"]].drop_duplicates(SETTING)[["cell", *SETTING]]
    others = cells[~cells["is_baseline"]][["cell", *SETTING]]
    pairs = others.merge(baselines, on=SETTING, suffixes=("", "_of_baseline"), validate="many_to_one")
    return dict(zip(pairs["cell"], pairs["cell_of_baseline"], strict=True))


def plain_cells(cells: pd.DataFrame) -> dict[str, str]:
    """For each re-weighted cell: the plain base loss of the same family and setting, where the study has it."""
    plain = cells[cells["omega"].isna()].drop_duplicates(FIELD)[["cell", *FIELD]]
    pairs = cells[cells["omega"].notna()][["cell", *FIELD]].merge(
        plain, on=FIELD, suffixes=("", "_of_plain"), validate="many_to_one"
    )
    return dict(zip(pairs["cell"], pairs["cell_of_plain"], strict=True))
