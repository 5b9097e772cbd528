"""Average ranks over imbalance factors: which methods are ahead in most of them?

Shown and not tested: Friedman's and Nemenyi's tests take their blocks as independent, and the imbalance factors of a
study are cut from the same images and tested on the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ccar.evidence.cells import PRIMARY
from ccar.evidence.frames import SETTING

MIN_BLOCKS, MIN_METHODS = 4, 3  # below, an average says no more than the table, or there is nothing to rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Ranks of methods, 1 the best, averaged over blocks (imbalance factors).

    Attributes:
        mean: by method, best first.
        num_blocks: that every method has finished.
    """

    mean: pd.Series
    num_blocks: int


def average_ranks(cells: pd.DataFrame, choices: pd.DataFrame) -> Ranks | None:
    """Rank plain base losses and their chosen omegas by their mean of the primary metric in every setting.

    Equal means share their average rank. Only methods that have finished all their seeds in every setting take part:
    a mean over the seeds that survived would flatter.

    Returns:
        None with fewer than `MIN_BLOCKS` settings or `MIN_METHODS` methods.

    Source: Demšar, JMLR 7 (2006).
    """
    shown = cells[cells["omega"].isna() | cells["cell"].isin(choices["cell"])]
    name = shown["family"].where(shown["omega"].isna(), shown["family"] + " + chosen ω")
    means = shown.assign(name=name).drop_duplicates([*SETTING, "name"])
    whole = means[means[f"{PRIMARY}_n"] == means["planned"]]
    table = whole.pivot(index=SETTING, columns="name", values=f"{PRIMARY}_mean").dropna(axis="columns")
    num_blocks, num_methods = table.shape
    if num_blocks < MIN_BLOCKS or num_methods < MIN_METHODS:
        return None
    # Rounded, so that the order of the summands cannot decide between equal means.
    ranks = table.round(9).rank(axis="columns", ascending=False)
    return Ranks(mean=ranks.mean().sort_values(kind="stable"), num_blocks=num_blocks)
