"""Head against tail: which cells no other cell beats on all groups of classes at once."""

from __future__ import annotations

from typing import get_args

import pandas as pd

from ccar.metrics.accuracy import Group

GROUPS = [f"test_{group}" for group in get_args(Group)]


def undominated(cells: pd.DataFrame) -> pd.Series:
    """Which rows are on the Pareto front of the mean accuracies on classes with many, medium and few images.

    A cell is on it unless another one is at least as good on every group and better on one. Groups that no cell has
    are left out; a cell without one of the others is on no front, and beats none. Nor does one that has not finished
    all its seeds: those that survived may be the lucky ones.

    Args:
        cells: of one setting, from `summarise_cells`.

    Returns:
        Boolean, on the index of `cells`.
    """
    whole = cells[cells["finished"] == cells["planned"]]
    means = whole[[f"{group}_mean" for group in GROUPS]].dropna(axis="columns", how="all").dropna()
    values = means.to_numpy()
    front = [not ((values >= own).all(axis=1) & (values > own).any(axis=1)).any() for own in values]
    return pd.Series(cells.index.isin(means.index[front]) if means.shape[1] else False, index=cells.index)
