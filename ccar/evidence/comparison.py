"""Two studies, or two runs of one: which cells agree, and which differ by more than noise."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ccar.evidence.cells import PRIMARY
from ccar.evidence.frames import SETTING
from ccar.evidence.intervals import LEVEL, NO_SPREAD, Array
from ccar.evidence.paired import DROPPED_OUT, moments
from ccar.evidence.significance import MIN_SEEDS, judge, t_test_p

CELL = [*SETTING, "method"]


def compare_studies(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Every cell that both studies have: the second minus the first in the primary metric.

    A cell is in both when data set, imbalance factor and method are the same. Differences are paired by seed over the
    seeds that both have finished; where they share none, the means are compared as those of independent samples
    (Welch's t). All comparisons answer one question and are corrected for each other. Cells whose trials are the very
    same (equal keys) are no comparison; those that lost seeds to early stopping or divergence are not judged.

    Args:
        first: trials with test results.
        second: those of the other study.

    Returns:
        One row per cell, in the order of the first study: `CELL`, `first_mean` and `second_mean` over the seeds that
        are compared, `first_n` and `second_n` (seeds that each has finished), `shared` (those that both have), `same`
        (trials of these with equal keys), `mean`, `low`, `high` of the difference, `p`, `p_holm` and `verdict` on the
        second ("same trials" where they all are).
    """
    finished = [trials[trials["status"] == "finished"] for trials in (first, second)]
    cells = first[CELL].drop_duplicates().merge(second[CELL].drop_duplicates(), on=CELL)
    index = pd.MultiIndex.from_frame(cells)
    seeds = sorted({*first["seed"], *second["seed"]})
    a, b = (_by_seed(trials, PRIMARY, index, seeds).to_numpy(dtype=np.float64) for trials in finished)
    keys_a, keys_b = (_by_seed(trials, "key", index, seeds).to_numpy() for trials in finished)
    shared = ~np.isnan(a) & ~np.isnan(b)
    same = (shared & (keys_a == keys_b)).sum(axis=1)
    paired = moments(np.where(shared, b - a, np.nan))
    found = pd.DataFrame(
        {
            "mean": paired["mean"],
            "half_width": paired["high"] - paired["mean"],
            "n": paired["n"].astype("float64"),
            "p": t_test_p(*(paired[name].to_numpy(dtype=np.float64) for name in ("mean", "sd", "n"))),
        }
    )
    for row in np.flatnonzero(~shared.any(axis=1)):
        found.loc[row] = _welch(a[row][~np.isnan(a[row])], b[row][~np.isnan(b[row])])
    num_shared = shared.sum(axis=1)
    is_compared = shared | (num_shared == 0)[:, np.newaxis]
    is_same = (num_shared > 0) & (same == num_shared)
    dropped_out = pd.concat(trials.loc[trials["status"].isin(DROPPED_OUT), CELL] for trials in (first, second))
    survivors = ~is_same & index.isin(pd.MultiIndex.from_frame(dropped_out))
    found.loc[is_same | survivors, "p"] = np.nan
    p, mean, half_width, n = (found[name].to_numpy(dtype=np.float64) for name in ("p", "mean", "half_width", "n"))
    p_holm, words = judge(p, mean, half_width, n, survivors)
    return cells.assign(
        first_mean=_means(np.where(is_compared, a, np.nan)),
        second_mean=_means(np.where(is_compared, b, np.nan)),
        first_n=(~np.isnan(a)).sum(axis=1),
        second_n=(~np.isnan(b)).sum(axis=1),
        shared=num_shared,
        same=same,
        mean=mean,
        low=mean - half_width,
        high=mean + half_width,
        p=found["p"],
        p_holm=p_holm,
        verdict=pd.Series(np.where(is_same, "same trials", words), dtype="str"),
    )


def _by_seed(trials: pd.DataFrame, column: str, cells: pd.MultiIndex, seeds: list[int]) -> pd.DataFrame:
    """(cells, seeds) values, NaN where a trial has not finished."""
    found = trials.drop_duplicates([*CELL, "seed"]).pivot(index=CELL, columns="seed", values=column)
    return found.reindex(index=cells, columns=seeds)


def _means(values: Array) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    counts = known.sum(axis=1)
    sums = np.where(known, values, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _welch(first: Array, second: Array) -> list[float]:
    """Mean difference, half width of its interval, the smaller number of seeds, and p; NaN where unknown."""
    from scipy import stats  # takes half a second to import

    if not len(first) or not len(second):
        return [np.nan, np.nan, 0.0, np.nan]
    mean, n = float(second.mean() - first.mean()), float(min(len(first), len(second)))
    if n < MIN_SEEDS or max(first.std(), second.std()) <= NO_SPREAD:
        return [mean, np.nan, n, np.nan]
    found = stats.ttest_ind(second, first, equal_var=False)
    interval = found.confidence_interval(LEVEL)
    return [mean, float(interval.high - interval.low) / 2, n, float(found.pvalue)]
