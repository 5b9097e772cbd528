"""Differences between cells, paired by seed: a seed fixes subset, split, initialisation and batch order for all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ccar.evidence.intervals import Array, t_half_width
from ccar.evidence.significance import hedges_g, judge, more_seeds_to_settle, sign_flip_p, t_test_p

MOMENTS = ["mean", "sd", "n", "low", "high"]
DROPPED_OUT = ("stopped", "diverged")  # what a trial's own numbers end; `failed` is the fault of a machine
PARTS = [*MOMENTS, "effect", "p", "p_holm", "p_sign_flip", "more_seeds", "verdict"]


def paired_differences(trials: pd.DataFrame, metric: str, reference_of: Mapping[str, str]) -> pd.DataFrame:
    """Mean difference of each cell to its reference cell over the seeds that both have finished, judged.

    The rows of one call are the comparisons of one question: their verdicts are corrected for each other.

    Args:
        trials: rows with `cell`, `seed`, `status` and `metric`; (cell, seed) is unique.
        metric: column to compare; larger is better.
        reference_of: cell id -> id of the cell to compare it with.

    Returns:
        Indexed by cell, in the order of `reference_of`: `reference`, and the `PARTS` of `compare`.
    """
    references = pd.Series(reference_of, dtype="str")
    differences = difference_matrix(trials, metric, references)
    return _by_cell(compare(differences, survivors(trials, references)), references)


def paired_moments(trials: pd.DataFrame, metric: str, reference_of: Mapping[str, str]) -> pd.DataFrame:
    """The same differences without a judgement: `reference` and `MOMENTS`."""
    references = pd.Series(reference_of, dtype="str")
    return _by_cell(moments(difference_matrix(trials, metric, references)), references)


def moments(differences: Array) -> pd.DataFrame:
    """Mean, sd (ddof 1), number and 95 % t interval of each row of an (m, S) array; NaN: a seed is missing."""
    frame = pd.DataFrame(differences)
    mean, sd = frame.mean(axis="columns").to_numpy(), frame.std(axis="columns", ddof=1).to_numpy()
    n = frame.count(axis="columns").to_numpy()
    half_width = t_half_width(sd, n)
    return pd.DataFrame({"mean": mean, "sd": sd, "n": n, "low": mean - half_width, "high": mean + half_width})


def survivors(trials: pd.DataFrame, references: pd.Series[str]) -> NDArray[np.bool_]:
    """(cells,) whether seeds of the cell or of its reference were stopped early or diverged."""
    dropped_out = trials.loc[trials["status"].isin(DROPPED_OUT), "cell"]
    own, others = references.index.isin(dropped_out), references.isin(dropped_out)
    found: NDArray[np.bool_] = own | others.to_numpy(dtype=np.bool_)
    return found


def compare(differences: Array, survivors: NDArray[np.bool_] | None = None) -> pd.DataFrame:
    """The comparisons of one question, judged together.

    Args:
        differences: (m, S), a row per comparison, paired by seed; NaN: a seed is missing.
        survivors: (m,) which of them are not judged, since seeds dropped out by their own numbers; None: none.

    Returns:
        One row of `PARTS` per comparison: `mean`, `sd`, `n`, `low`, `high` (t interval, 95 %, of this comparison
        alone), `effect` (Hedges' g), `p` (t test), `p_holm`, `p_sign_flip`, `more_seeds` (beyond n, that would probably
        settle an effect of the size `effect`; inf: more than a thousand, NaN: settled, or unknown), `verdict`.

    Example:
        >>> compare(np.array([[0.011, 0.012, 0.010], [0.004, -0.006, np.nan]]))["verdict"].tolist()
        ['better', 'too few seeds to tell']
    """
    survivors = np.zeros(len(differences), dtype=np.bool_) if survivors is None else survivors
    found = moments(differences)
    mean, sd, n = (found[part].to_numpy(dtype=np.float64) for part in ("mean", "sd", "n"))
    p, effect = np.where(survivors, np.nan, t_test_p(mean, sd, n)), hedges_g(mean, sd, n)
    p_holm, words = judge(p, mean, t_half_width(sd, n), n, survivors)
    unsettled = np.where(survivors | np.isin(words, ["better", "worse"]), np.nan, effect)
    return found.assign(
        effect=effect,
        p=p,
        p_holm=p_holm,
        p_sign_flip=np.where(survivors, np.nan, sign_flip_p(differences)),
        more_seeds=more_seeds_to_settle(unsettled, n, int(np.count_nonzero(survivors | ~np.isnan(p)))),
        verdict=pd.Series(words, dtype="str"),
    )


def _by_cell(found: pd.DataFrame, references: pd.Series[str]) -> pd.DataFrame:
    table = found.set_index(references.index)
    table.insert(0, "reference", references)
    return table


def difference_matrix(trials: pd.DataFrame, metric: str, references: pd.Series[str]) -> Array:
    """(cells, seeds) differences to the reference cells, NaN where either has not finished or has no number."""
    finished = trials[trials["status"] == "finished"]
    by_seed = finished.pivot(index="cell", columns="seed", values=metric)
    own, others = by_seed.reindex(references.index), by_seed.reindex(references)
    differences: Array = own.to_numpy(dtype=np.float64) - others.to_numpy(dtype=np.float64)
    return differences
