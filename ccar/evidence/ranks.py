"""Average ranks over data sets and imbalance factors: do methods differ across them, and which ones?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ccar.evidence.cells import PRIMARY
from ccar.evidence.frames import SETTING
from ccar.evidence.significance import ALPHA

MIN_BLOCKS, MIN_METHODS = 4, 3  # below, no difference of ranks can be significant, or there is nothing to rank
MIN_DATA_SETS = 4  # the tests take blocks as independent: imbalance factors of one data set share its test images


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Ranks of methods, 1 the best, averaged over blocks (data set x imbalance factor).

    Attributes:
        mean: by method, best first.
        num_blocks: that every method has finished.
        friedman_p: of "all methods rank alike"; None with fewer than `MIN_DATA_SETS` data sets.
        critical_difference: methods whose average ranks differ by less cannot be told apart (Nemenyi, alpha 0.05); None
            where there is no `friedman_p`.
    """

    mean: pd.Series
    num_blocks: int
    friedman_p: float | None = None
    critical_difference: float | None = None


def average_ranks(cells: pd.DataFrame, choices: pd.DataFrame) -> Ranks | None:
    """Rank plain base losses and their chosen omegas by their mean of the primary metric in every setting.

    Equal means share their average rank. Only methods that have a result in every setting take part.

    Returns:
        None with fewer than `MIN_BLOCKS` settings or `MIN_METHODS` methods.

    Source: Demšar, JMLR 7 (2006); the tests are `scipy.stats.friedmanchisquare` and `studentized_range`.
    """
    from scipy import stats  # takes half a second to import

    chosen = cells["cell"].isin(choices["cell"])
    shown = cells[(cells["omega"].isna() | chosen) & (cells[f"{PRIMARY}_n"] > 0)]
    name = shown["family"].where(shown["omega"].isna(), shown["family"] + " + chosen ω")
    means = shown.assign(name=name).drop_duplicates([*SETTING, "name"])
    table = means.pivot(index=SETTING, columns="name", values=f"{PRIMARY}_mean").dropna(axis="columns")
    num_blocks, num_methods = table.shape
    if num_blocks < MIN_BLOCKS or num_methods < MIN_METHODS:
        return None
    # Rounded, so that the order of the summands cannot decide between equal means.
    ranks = table.round(9).rank(axis="columns", ascending=False)
    mean = ranks.mean().sort_values(kind="stable")
    if table.index.get_level_values("data").nunique() < MIN_DATA_SETS:
        return Ranks(mean=mean, num_blocks=num_blocks)
    p = 1.0 if (ranks.nunique(axis="columns") == 1).all() else stats.friedmanchisquare(*table.round(9).T.to_numpy())[1]
    return Ranks(
        mean=mean,
        num_blocks=num_blocks,
        friedman_p=float(p),
        critical_difference=critical_difference(num_methods, num_blocks),
    )


def critical_difference(num_methods: int, num_blocks: int) -> float:
    """Nemenyi's: how far two average ranks must be apart to differ at alpha 0.05.

    Example:
        >>> round(critical_difference(4, 14), 2)  # the example of Demšar's section 3.2.2
        1.25
    """
    from scipy import stats  # takes half a second to import

    quantile = stats.studentized_range.ppf(1 - ALPHA, num_methods, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(num_methods * (num_methods + 1) / (6 * num_blocks)))


def groups_of_equals(ranks: Ranks) -> list[tuple[str, ...]]:
    """The largest runs of methods, in order of rank, whose ends are closer than the critical difference, if any."""
    if ranks.critical_difference is None:
        return []
    names, values = list(ranks.mean.index), ranks.mean.to_numpy()
    runs: list[tuple[int, int]] = []
    for first, value in enumerate(values):
        last = int(np.searchsorted(values, value + ranks.critical_difference, side="left")) - 1
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return [tuple(names[first : last + 1]) for first, last in runs]
