"""Which re-weighting to recommend for each base loss: chosen on validation data, by code that cannot see the test set.

This module imports nothing that reads test results, and refuses a frame that carries any.
"""

from __future__ import annotations

import pandas as pd

from ccar.evidence.cells import SWITCHES
from ccar.evidence.frames import SETTING, VALIDATION_DTYPES, ValidationFrame
from ccar.evidence.intervals import t_half_width
from ccar.evidence.paired import DROPPED_OUT

CRITERION = "val_balanced_accuracy"  # after the last epoch, as are the test results joined to the choice
_FIELD = [*SETTING, "family"]  # what competes for one recommendation
CHOICE_COLUMNS = [
    *_FIELD,
    "cell",
    "method",
    "omega",
    *SWITCHES,
    "candidates",
    "left_out",
    f"{CRITERION}_mean",
    f"{CRITERION}_sd",
    f"{CRITERION}_n",
    f"{CRITERION}_half_width",
]


def select_omega(validation: ValidationFrame) -> pd.DataFrame:
    """For each base loss and setting, the re-weighted cell with the highest mean validation balanced accuracy.

    The mean goes over the finished seeds; omega and all other switches compete in one field. A cell that
    has finished fewer seeds than another one of its field is left out: it diverged, failed, was stopped early,
    or is still to come, and a mean over the seeds that survived would flatter it. For the same reason a cell with seeds
    that were stopped or diverged is left out wherever one without such seeds has finished any. Between equal means the
    steadier cell wins (smaller standard deviation), then the smaller omega, then the earlier one in the study;
    with a small validation part equal means are common.

    Args:
        validation: from `validation_frame`.

    Returns:
        `CHOICE_COLUMNS`; one row per setting and family in the order of the plan. `candidates` competed, `left_out`
        did not. No row where there are no validation results.

    Raises:
        ValueError: the frame has a column that `validation_frame` does not make, such as a test result.
    """
    foreign = sorted(set(validation.columns) - set(VALIDATION_DTYPES))
    if foreign:
        raise ValueError(f"selection reads validation results only: found the columns {', '.join(foreign)}")
    cells = _candidates(validation)
    num_seeds = cells[f"{CRITERION}_n"]
    cells["whole"] = (num_seeds > 0) & ~cells["survivor"]
    cells["seeds"] = num_seeds.where(cells["whole"] | ~cells.groupby(_FIELD)["whole"].transform("any"), 0)
    fields = cells.assign(
        competes=(cells["seeds"] > 0) & (cells["seeds"] == cells.groupby(_FIELD)["seeds"].transform("max")),
        # Rounded, so that the order of the summands cannot decide between equal means.
        rank_mean=cells[f"{CRITERION}_mean"].round(9),
        rank_sd=cells[f"{CRITERION}_sd"].round(9),
    )
    fields["candidates"] = fields.groupby(_FIELD)["competes"].transform("sum")
    fields["left_out"] = fields.groupby(_FIELD)["competes"].transform("size") - fields["candidates"]
    ranked = fields[fields["competes"]].sort_values(
        ["rank_mean", "rank_sd", "omega"], ascending=[False, True, True], kind="stable"
    )
    return ranked.drop_duplicates(_FIELD).sort_index()[CHOICE_COLUMNS].reset_index(drop=True)


def _candidates(validation: ValidationFrame) -> pd.DataFrame:
    """The re-weighted cells in the order of the plan, with the criterion over their finished seeds."""
    reweighted = validation[validation["omega"].notna()]
    cells = reweighted.drop_duplicates("cell")[[*_FIELD, "cell", "method", "omega", *SWITCHES]].set_index(
        "cell", drop=False
    )
    finished = reweighted[reweighted["status"] == "finished"].groupby("cell")[CRITERION]
    mean, sd, n = (part.reindex(cells.index) for part in (finished.mean(), finished.std(ddof=1), finished.count()))
    dropped_out = reweighted.loc[reweighted["status"].isin(DROPPED_OUT), "cell"]
    return cells.assign(
        survivor=cells["cell"].isin(dropped_out),
        **{
            f"{CRITERION}_mean": mean,
            f"{CRITERION}_sd": sd,
            f"{CRITERION}_n": n.fillna(0).astype("int64"),
            f"{CRITERION}_half_width": t_half_width(sd, n.fillna(0)),
        },
    ).reset_index(drop=True)


def select_without_each_seed(validation: ValidationFrame) -> pd.DataFrame:
    """What `select_omega` chooses when it may not see one of the seeds, for each of them.

    The test result of the seed that was left out has no part in such a choice, however the choice was lucky.

    Returns:
        `seed` (the one left out), setting, family, `cell`; no row for a study with one seed.
    """
    seeds = list(dict.fromkeys(validation["seed"]))
    choices = [
        select_omega(ValidationFrame(validation[validation["seed"] != seed])).assign(seed=seed) for seed in seeds
    ]
    columns = ["seed", *_FIELD, "cell"]
    return pd.concat([chosen[columns] for chosen in choices], ignore_index=True)
