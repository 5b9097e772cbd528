"""Differences between cells, paired by seed: a seed fixes subset, split, initialisation and batch order for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from ccar.evidence.frames import rows_of

Verdict = Literal["better", "worse", "within noise", "too few seeds to tell"]

LEVEL = 0.95  # of every interval
MIN_SEEDS = 3  # with two, the 95 % interval is 12.7 standard errors to each side: it says nothing
_NO_SPREAD = 1e-12  # standard deviations below this are rounding errors of equal numbers


def paired_differences(trials: pd.DataFrame, metric: str, reference_of: Mapping[str, str]) -> pd.DataFrame:
    """Mean difference of each cell to its reference cell over the seeds that both have finished.

    Args:
        trials: rows with `cell`, `seed`, `status` and `metric`; (cell, seed) is unique.
        metric: column to compare; larger is better.
        reference_of: cell id -> id of the cell to compare it with.

    Returns:
        Indexed by cell, in the order of `reference_of`: `reference`, `mean`, `sd` (of the differences, ddof 1),
        `n` (pairs), `low` and `high` (t interval, 95 %), `verdict`.
    """
    finished = trials[trials["status"] == "finished"]
    by_seed = finished.pivot(index="cell", columns="seed", values=metric)
    references = pd.Series(reference_of, dtype="str")
    difference = by_seed.reindex(references.index) - by_seed.reindex(references).to_numpy()
    summary = pd.DataFrame(
        {
            "reference": references,
            "mean": difference.mean(axis="columns"),
            "sd": difference.std(axis="columns", ddof=1),
            "n": difference.count(axis="columns"),
        }
    )
    summary["low"], summary["high"] = t_interval(summary["mean"], summary["sd"], summary["n"])
    verdicts = [verdict(row.mean, row.low, row.high, row.n) for row in rows_of(summary)]
    summary["verdict"] = pd.Series(verdicts, index=summary.index, dtype="str")
    return summary


def t_interval(mean: ArrayLike, sd: ArrayLike, n: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of a mean of n differences, by Student's t.

    NaN for fewer than two differences, and where they are all equal: no spread seen is not a spread of zero.
    """
    mean, sd, n = (np.asarray(values, dtype=np.float64) for values in (mean, sd, n))
    known = (n >= 2) & (sd > _NO_SPREAD)
    quantile = stdtrit(np.where(known, n - 1, 1.0), 0.5 + LEVEL / 2)
    half_width = np.where(known, quantile * sd / np.sqrt(np.maximum(n, 1.0)), np.nan)
    return mean - half_width, mean + half_width


def verdict(mean: float, low: float, high: float, n: int) -> Verdict:
    """One comparison in words; it is not corrected for other comparisons made beside it.

    `within noise` when the interval includes 0, or when all differences are 0. With fewer than three seeds, or
    with equal non-zero differences only (no spread to judge by), nothing can be told.
    """
    if n < MIN_SEEDS:
        return "too few seeds to tell"
    if np.isnan(low):
        return "within noise" if abs(mean) <= _NO_SPREAD else "too few seeds to tell"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "within noise"
