"""Which re-weighting to recommend for each base loss: chosen on validation data, by code that cannot see the test set.

This module imports nothing that reads test results, and refuses a frame that carries any.
"""

from __future__ import annotations

import pandas as pd

from ccar.evidence.cells import SWITCHES
from ccar.evidence.frames import FIELD, SETTING, VALIDATION_DTYPES, ValidationFrame
from ccar.evidence.intervals import t_half_width
from ccar.evidence.paired import DROPPED_OUT

CRITERION = "val_balanced_accuracy"  # after the last epoch, as are the test results joined to the choice
_SUMMARY = [f"{CRITERION}_{part}" for part in ("mean", "sd", "n", "half_width")]
CHOICE_COLUMNS = [*FIELD, "cell", "method", "omega", *SWITCHES, "candidates", "left_out", "tied", *_SUMMARY]


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
        did not; `tied` of the candidates have the mean of the chosen one, itself included. No row where there are no
        validation results.

    Raises:
        ValueError: the frame has a column that `validation_frame` does not make, such as a test result.
    """
    foreign = sorted(set(validation.columns) - set(VALIDATION_DTYPES))
    if foreign:
        raise ValueError(f"selection reads validation results only: found the columns {', '.join(foreign)}")
    cells = _competition(validation[validation["omega"].notna()], FIELD)
    competed = cells.groupby(FIELD)["competes"]
    cells["candidates"] = competed.transform("sum")
    cells["left_out"] = competed.transform("size") - cells["candidates"]
    return _best(cells, FIELD)[CHOICE_COLUMNS].reset_index(drop=True)


def candidates(validation: ValidationFrame) -> frozenset[str]:
    """The cells that competed for the choices of `select_omega`, by id: all but those that were left out."""
    cells = _competition(validation[validation["omega"].notna()], FIELD)
    return frozenset(cells.loc[cells["competes"], "cell"])


def best_cells(validation: ValidationFrame) -> pd.DataFrame:
    """For each setting the best cell, with omega or without: chosen as `select_omega` chooses among the re-weighted.

    Between cells that are equal in everything, a plain loss wins.

    Returns:
        `SETTING`, `cell`, `tied` (cells that share its mean, itself included), and mean, sd, n and half width of the
        criterion; one row per setting with validation results.
    """
    best = _best(_competition(validation, SETTING), SETTING)
    return best[[*SETTING, "cell", "tied", *_SUMMARY]].reset_index(drop=True)


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
    columns = ["seed", *FIELD, "cell"]
    return pd.concat([chosen[columns] for chosen in choices], ignore_index=True)


def _competition(validation: pd.DataFrame, field: list[str]) -> pd.DataFrame:
    """The cells in the order of the plan, with the criterion over their finished seeds, and whether they compete."""
    cells = validation.drop_duplicates("cell")[[*FIELD, "cell", "method", "omega", *SWITCHES]].set_index(
        "cell", drop=False
    )
    finished = validation[validation["status"] == "finished"].groupby("cell")[CRITERION]
    mean, sd, n = (part.reindex(cells.index) for part in (finished.mean(), finished.std(ddof=1), finished.count()))
    n = n.fillna(0).astype("int64")
    whole = (n > 0) & ~cells["cell"].isin(validation.loc[validation["status"].isin(DROPPED_OUT), "cell"])
    found = cells.assign(
        **dict(zip(_SUMMARY, (mean, sd, n, t_half_width(sd, n)), strict=True)), whole=whole
    ).reset_index(drop=True)
    has_whole = found.groupby(field)["whole"].transform("any")
    found["seeds"] = found[f"{CRITERION}_n"].where(found["whole"] | ~has_whole, 0)
    most = found.groupby(field)["seeds"].transform("max")
    return found.assign(competes=(found["seeds"] > 0) & (found["seeds"] == most))


def _best(cells: pd.DataFrame, field: list[str]) -> pd.DataFrame:
    """The winner of each field, in the order of the plan."""
    competing = cells[cells["competes"]]
    ranked = competing.assign(
        # Rounded, so that the order of the summands cannot decide between equal means.
        rank_mean=competing[f"{CRITERION}_mean"].round(9),
        rank_sd=competing[f"{CRITERION}_sd"].round(9),
    )
    ranked["tied"] = ranked.groupby([*field, "rank_mean"])["cell"].transform("size")
    ranked = ranked.sort_values(
        ["rank_mean", "rank_sd", "omega"], ascending=[False, True, True], kind="stable", na_position="first"
    )
    return ranked.drop_duplicates(field).sort_index()
