"""Is a mean difference over seeds more than noise: p-values, their correction, effect sizes, seeds that it would take.

Everything here is about an (m, S) array: m comparisons of one question, S seeds, NaN where a pair is incomplete.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, stdtr

from ccar.evidence.intervals import LEVEL, NO_SPREAD, Array, by_count

Verdict = Literal["better", "worse", "within noise", "too few seeds to tell", "not judged: seeds dropped out"]
NOT_JUDGED: Verdict = "not judged: seeds dropped out"

ALPHA = (
    1 - LEVEL
)  # the share of studies without any effect that may say better or worse among the comparisons of a question
MIN_SEEDS = 3  # with two, the 95 % interval is 12.7 standard errors to each side: it says nothing
MAX_EXACT_SEEDS = 13  # 8,192 sign patterns; each further seed doubles them
POWER = 0.8  # with so much of it, a number of seeds "would probably settle" a question
# More seeds to choose an answer from; nobody plans 87 rather than 90.
_MORE = np.array([*range(1, 21), *range(25, 51, 5), *range(60, 101, 10), *range(120, 201, 20), *range(250, 1001, 50)])


def t_test_p(mean: Array, sd: Array, n: Array) -> Array:
    """Two-sided p of "the true mean difference is 0", by Student's t on n paired differences.

    NaN for fewer than `MIN_SEEDS` differences, and where they are all equal and not 0; 1 where they are all 0.
    """
    spread = (n >= MIN_SEEDS) & (sd > NO_SPREAD)
    t = mean / (np.where(spread, sd, 1.0) / np.sqrt(np.maximum(n, 1)))
    p = 2 * stdtr(np.where(spread, n - 1, 1.0), -np.abs(t))
    all_zero = (n >= MIN_SEEDS) & ~spread & (np.abs(mean) <= NO_SPREAD)
    return np.where(spread, p, np.where(all_zero, 1.0, np.nan))


def holm(p: Array) -> Array:
    """Holm's correction of p-values that answer one question: any of them below alpha is wrong at most so often.

    NaN, a comparison that could not be made, stays NaN and does not count.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    made = np.flatnonzero(~np.isnan(p))
    rising = made[np.argsort(p[made])]
    corrected = np.full(len(p), np.nan)
    corrected[rising] = np.minimum(np.maximum.accumulate(p[rising] * np.arange(len(rising), 0, -1)), 1)
    return corrected


def sign_flip_p(differences: Array) -> Array:
    """Two-sided exact p of "each difference might as well have had the other sign"; assumes no distribution.

    With n seeds it cannot be below 2^(1-n): 0.25 for three, 0.06 for five, 0.002 for ten.

    Returns:
        (m,); NaN for fewer than `MIN_SEEDS` differences, and for more than `MAX_EXACT_SEEDS`.
    """
    from scipy import stats  # takes half a second to import

    p = np.full(len(differences), np.nan)
    for rows, present in by_count(differences, at_least=MIN_SEEDS):
        if present.shape[1] <= MAX_EXACT_SEEDS:
            p[rows] = stats.permutation_test(
                (present,),
                lambda flipped, axis: flipped.mean(axis=axis),
                permutation_type="samples",
                vectorized=True,
                n_resamples=2**MAX_EXACT_SEEDS,  # at least as many as there are patterns: all of them, once each
                axis=-1,
                batch=64,
            ).pvalue
    return p


def hedges_g(mean: Array, sd: Array, n: Array) -> Array:
    """Mean difference in units of the standard deviation of the paired differences, corrected for few seeds.

    NaN for fewer than `MIN_SEEDS` differences, and without spread.

    Source: Hedges, Journal of Educational Statistics 6 (1981), with his exact factor for n - 1 degrees of freedom.
    """
    known = (n >= MIN_SEEDS) & (sd > NO_SPREAD)
    half_df = np.where(known, n - 1, 2.0) / 2
    factor = np.exp(gammaln(half_df) - gammaln(half_df - 0.5)) / np.sqrt(half_df)
    return np.where(known, factor * mean / np.where(known, sd, 1.0), np.nan)


def more_seeds_to_settle(effect: Array, n: Array, num_comparisons: int) -> Array:
    """How many seeds beyond n find a true effect of this size, among so many comparisons, in 80 of 100 studies.

    Args:
        effect: (m,) true mean difference in units of the standard deviation of the differences; the sign is ignored.
        n: (m,) seeds that there are, at least one where the effect is known.
        num_comparisons: of the question; each has to hold at its share of alpha, as Holm asks of the first one.

    Returns:
        (m,) seeds, as floats; inf beyond 1,000, NaN for an unknown effect.
    """
    from statsmodels.stats.power import TTestPower  # takes half a second to import

    # "larger" at half of alpha: the two-sided power adds rejections on the wrong side, which are no finding
    # (and for which statsmodels 0.15 gives NaN where they are very rare).
    alpha = ALPHA / max(num_comparisons, 1) / 2
    more = np.full(len(effect), np.nan)
    known = ~np.isnan(effect)
    if known.any():
        size = np.abs(effect[known])[:, None]
        enough = TTestPower().power(size, n[known][:, None] + _MORE, alpha, alternative="larger") >= POWER
        more[known] = np.where(enough.any(axis=1), _MORE[enough.argmax(axis=1)], np.inf)
    return more


def judge(
    p: Array, mean: Array, half_width: Array, n: Array, survivors: NDArray[np.bool_]
) -> tuple[Array, NDArray[np.str_]]:
    """Holm's p-values and the verdicts of the comparisons of one question.

    Args:
        p: (m,) of each comparison over the pairs that there are.
        mean: (m,) of their differences.
        half_width: (m,) of its interval.
        n: (m,) pairs.
        survivors: which comparisons have lost seeds to early stopping or divergence. What is left was picked by its own
            luck, so they are not judged: no p, no verdict but that. They are counted all the same. What is stopped
            depends on the numbers, and a lone survivor of twenty is the luckiest of twenty, not one comparison.
            Counted as p = 1, no p-value is smaller than it would have been without stopping, and 5 % hold as before.
    """
    p_holm = np.where(survivors, np.nan, holm(np.where(survivors, 1.0, p)))
    return p_holm, np.where(survivors, NOT_JUDGED, verdicts(mean, half_width, n, p_holm))


def verdicts(mean: Array, half_width: Array, n: Array, p_holm: Array) -> NDArray[np.str_]:
    """Comparisons in words: what their 95 % interval and the corrected p-value allow to say.

    `better` and `worse` when p is at most 0.05 after Holm's correction for all comparisons of the question.
    `within noise` when the interval of this one comparison includes 0, or all differences are 0. Otherwise `too few
    seeds to tell`: fewer than three, or equal non-zero differences only (no spread to judge by), or an interval that
    excludes 0 by itself while the correction does not let it pass.
    """
    includes_zero = (np.abs(mean) <= half_width) | (np.abs(mean) <= NO_SPREAD)
    significant = p_holm <= ALPHA  # False for NaN
    words: list[Verdict] = ["within noise", "better", "worse"]
    conditions = [(n >= MIN_SEEDS) & includes_zero, significant & (mean > 0), significant & (mean < 0)]
    few: Verdict = "too few seeds to tell"
    return np.select(conditions, words, default=few)
