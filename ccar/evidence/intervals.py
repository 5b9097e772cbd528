"""Intervals of a mean difference over seeds: Student's t, which is shown, and the bootstrap beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Array = NDArray[np.float64]

LEVEL = 0.95  # of every interval
NO_SPREAD = 1e-12  # standard deviations below this are rounding errors of equal numbers
_RESAMPLES = 2000
_RESAMPLES_AT_ONCE = 100  # of thousands of cells at once, all of them would take gigabytes


def t_half_width(sd: ArrayLike, n: ArrayLike) -> Array:
    """Half the width of the 95 % interval of a mean of n numbers, by Student's t.

    NaN for fewer than two numbers, and where they are all equal: no spread seen is not a spread of zero.
    """
    sd, n = np.asarray(sd, dtype=np.float64), np.asarray(n, dtype=np.float64)
    known = (n >= 2) & (sd > NO_SPREAD)
    quantile = stdtrit(np.where(known, n - 1, 1.0), 0.5 + LEVEL / 2)
    return np.where(known, quantile * sd / np.sqrt(np.maximum(n, 1.0)), np.nan)


def bca_interval(values: Array) -> tuple[Array, Array]:
    """The 95 % interval of each row's mean by the bootstrap, bias-corrected and accelerated (BCa).

    It assumes no normal distribution, but resamples what little there is: of normal numbers it covers the true mean
    in 72 of 100 cases with three seeds, 84 with five, 90 with ten (the t interval: 95). So it is a second opinion.

    Args:
        values: (m, S), NaN where a seed is missing.

    Returns:
        Lower and upper ends, (m,) each. NaN for fewer than three values, and where they are all equal. Equal values
        give equal ends: the resampling is seeded, and the same for every row with as many values.

    Source: Efron, JASA 82 (1987); the code is `scipy.stats.bootstrap`.
    """
    from scipy import stats  # takes half a second to import

    low, high = np.full(len(values), np.nan), np.full(len(values), np.nan)
    for rows, present in by_count(values, at_least=3):
        spread = present.std(axis=1) > NO_SPREAD
        if spread.any():
            found = stats.bootstrap(
                (present[spread],),
                np.mean,
                axis=-1,
                method="BCa",
                confidence_level=LEVEL,
                n_resamples=_RESAMPLES,
                batch=_RESAMPLES_AT_ONCE,
                rng=np.random.default_rng(0),
            ).confidence_interval
            low[rows[spread]], high[rows[spread]] = found.low, found.high
    return low, high


def by_count(values: Array, *, at_least: int) -> list[tuple[NDArray[np.intp], Array]]:
    """The rows of an (m, S) array, sorted by how many numbers they have: (indices, (rows, count) numbers) each."""
    counts = np.count_nonzero(~np.isnan(values), axis=1)
    groups = []
    for count in np.unique(counts[counts >= at_least]):
        rows = np.flatnonzero(counts == count)
        chosen = values[rows]
        groups.append((rows, chosen[~np.isnan(chosen)].reshape(len(rows), count)))
    return groups
