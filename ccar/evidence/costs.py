"""What a study cost in hours of training, what each of its claims did, and what was spared."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ccar.evidence.frames import FIELD, SETTING
from ccar.store.trial_log import FINAL

HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCosts:
    """Hours of training and validation; trials that share a device count in full each.

    Attributes:
        hours: of all trials, however they ended.
        hours_by_device: the same by what they ran on.
        hours_of_cell: by cell id.
        num_from_store: trials that had ended before this study was first run: another one had trained them.
        hours_from_store: what those took.
        num_stopped: trials that early stopping ended.
        hours_spared_by_stopping: what those would have taken on top, at the pace that they had.
    """

    hours: float
    hours_by_device: dict[str, float]
    hours_of_cell: pd.Series
    num_from_store: int
    hours_from_store: float
    num_stopped: int
    hours_spared_by_stopping: float


def study_costs(trials: pd.DataFrame, costs: pd.DataFrame, submitted_at: float | None) -> StudyCosts:
    """Add up what the trials took.

    Args:
        trials: a validation frame.
        costs: from `cost_frame`.
        submitted_at: Unix time at which the study was first run; None: never.
    """
    joined = trials[["cell", *SETTING, "stem", "key", "status", "epochs"]].merge(
        costs[["key", "seconds", "device", "ended_at"]].drop_duplicates("key"), on="key", how="left"
    )
    joined["hours"] = joined["seconds"].fillna(0.0) / HOUR
    ended_before = joined["status"].isin(FINAL) & (joined["ended_at"] < (submitted_at or 0.0))
    stopped = joined["status"] == "stopped"
    full = joined["epochs"].where(joined["status"] == "finished").groupby([joined[name] for name in [*SETTING, "stem"]])
    pace = joined["hours"] / joined["epochs"].clip(lower=1)
    spared = (pace * (full.transform("max") - joined["epochs"])).where(stopped, 0.0).fillna(0.0)
    by_device = joined[joined["hours"] > 0].groupby(joined["device"].fillna("unknown"))["hours"].sum()
    return StudyCosts(
        hours=float(joined["hours"].sum()),
        hours_by_device={str(device): float(hours) for device, hours in by_device.items()},
        hours_of_cell=joined.groupby("cell", sort=False)["hours"].sum(),
        num_from_store=int(ended_before.sum()),
        hours_from_store=float(joined["hours"][ended_before].sum()),
        num_stopped=int(stopped.sum()),
        hours_spared_by_stopping=float(spared.sum()),
    )


def claim_costs(choices: pd.DataFrame, cells: pd.DataFrame, hours_of_cell: pd.Series) -> pd.DataFrame:
    """What it took to say that the chosen omega of a base loss is better, or not: its plain cell and all candidates.

    Returns:
        One row per choice: setting, family, `cells`, `trials`, `hours`.
    """
    costed = cells[["cell", *FIELD, "planned"]].assign(hours=cells["cell"].map(hours_of_cell).astype("float64"))
    summed = costed.groupby(FIELD, sort=False).agg(
        cells=("cell", "size"), trials=("planned", "sum"), hours=("hours", "sum")
    )
    return choices[FIELD].merge(summed.reset_index(), on=FIELD, how="left")
