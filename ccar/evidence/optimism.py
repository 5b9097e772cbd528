"""What choosing omega on the test set would have claimed, and what the choice is worth on seeds it did not see."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from ccar.evidence.cells import PRIMARY, plain_cells
from ccar.evidence.frames import FIELD


def optimism(
    choices: pd.DataFrame,
    left_out: pd.DataFrame,
    candidates: Collection[str],
    trials: pd.DataFrame,
    cells: pd.DataFrame,
) -> pd.DataFrame:
    """The chosen cell beside the one that a look at the test set would have picked.

    Args:
        choices: from `select_omega`.
        left_out: from `select_without_each_seed`.
        candidates: ids of the cells that competed for the choices; no other one could have been picked.
        trials: from `with_test_results`.
        cells: from `summarise_cells`, with test results.

    Returns:
        One row per choice that has test results: setting, family, `cell`, `omega`; `picked_cell`, `picked_omega`:
        highest mean of the primary metric among the candidates; `mean` and `picked_mean` of
        that metric; `optimism`: the second minus the first, what test-picking would have claimed on top; `gain`: the
        chosen cell minus its plain base loss; `left_out_gain`: the same, where each seed's omega is chosen on the
        validation results of the *other* seeds, so that one and the same stroke of luck cannot both make a choice and
        praise it; `left_out_same`: the share of seeds for which that is the same cell. NaN where there is no plain
        base loss, or one seed only; the share also where the choice rests on a tie, which the same rule breaks again.
    """
    competed = cells[cells["cell"].isin(candidates) & (cells[f"{PRIMARY}_n"] > 0)]
    # Rounded, and in the order of the plan: the same pick whatever the order of the sums.
    picked = competed.assign(rank=competed[f"{PRIMARY}_mean"].round(9)).sort_values(
        "rank", ascending=False, kind="stable"
    )
    picked = picked.drop_duplicates(FIELD)[[*FIELD, "cell", "omega", f"{PRIMARY}_mean"]]
    picked = picked.rename(columns={"cell": "picked_cell", "omega": "picked_omega", f"{PRIMARY}_mean": "picked_mean"})
    by_cell = cells.set_index("cell")
    rows = choices[[*FIELD, "cell", "omega", "tied"]].merge(picked, on=FIELD, how="inner")
    rows["mean"] = rows["cell"].map(by_cell[f"{PRIMARY}_mean"]).astype("float64")
    rows["optimism"] = rows["picked_mean"] - rows["mean"]
    rows["gain"] = rows["cell"].map(by_cell[f"{PRIMARY}_versus_plain_mean"]).astype("float64")
    gains = _left_out_gains(left_out, trials, plain_cells(cells), chosen=set(choices["cell"]))
    rows = rows.merge(gains, on=FIELD, how="left")
    return rows.assign(left_out_same=rows["left_out_same"].where(rows["tied"] == 1)).drop(columns="tied")


def _left_out_gains(
    left_out: pd.DataFrame, trials: pd.DataFrame, plain_of: dict[str, str], *, chosen: set[str]
) -> pd.DataFrame:
    by_trial = trials[trials["status"] == "finished"].set_index(["cell", "seed"])[PRIMARY]
    own = by_trial.reindex(pd.MultiIndex.from_frame(left_out[["cell", "seed"]])).to_numpy()
    plain = by_trial.reindex(pd.MultiIndex.from_arrays([left_out["cell"].map(plain_of), left_out["seed"]])).to_numpy()
    gains = left_out.assign(left_out_gain=own - plain, left_out_same=left_out["cell"].isin(chosen).astype("float64"))
    return gains.groupby(FIELD, sort=False)[["left_out_gain", "left_out_same"]].mean().reset_index()
