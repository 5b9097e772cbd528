"""What explains validation accuracy: how much of it a forest can predict, and what it loses without each factor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ccar.evidence.cells import SWITCHES
from ccar.evidence.selection import CRITERION

FACTORS = ["family", "omega", *SWITCHES, "loss_factor", "learning_rate", "recipe", "seed"]
MIN_TRIALS = 20  # with fewer, a fold leaves out fewer than four trials, and chance decides
MOST_TRIALS = 2_000  # of more, so many are drawn: seconds instead of a minute
_FOLDS = 5
_TREES = 50
_SHUFFLES = 5  # of each factor in each fold


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """What was found in the trials of one setting.

    Attributes:
        num_trials: that were looked at.
        explained: share of the variance of trials left out that was predicted; 1 is all of it, and at most 0 means
            that the factors tell nothing.
        lost: by factor, largest first: by how much `explained` falls when the values of this factor are shuffled
            among the trials left out. Not shares of a whole: factors that work together count in each of them.
    """

    num_trials: int
    explained: float
    lost: pd.Series[float]


def importance(trials: pd.DataFrame) -> Importance | None:
    """Permutation importance of everything that varies among the trials, for validation balanced accuracy.

    A random forest is fitted to four fifths of the trials and asked for the others, five times: what it merely
    learned by heart does not count. Says what goes with accuracy in this study, not what would happen in another.

    Args:
        trials: of one setting, with the columns of a validation frame; only finished ones count.

    Returns:
        None where fewer than `MIN_TRIALS` have finished, nothing varies among them, or all are equally accurate.

    Source: Breiman, Machine Learning 45 (2001); the method is `sklearn.inspection.permutation_importance`.
    """
    finished = trials[(trials["status"] == "finished") & trials[CRITERION].notna()]
    if len(finished) > MOST_TRIALS:
        finished = finished.sample(MOST_TRIALS, random_state=0)
    # A plain loss has no omega, and none of its switches either: that counts once, as a value of omega.
    factors = [name for name in FACTORS if finished[name].nunique(dropna=name != "omega") > 1]
    accuracies = finished[CRITERION].to_numpy()
    if len(finished) < MIN_TRIALS or not factors or np.ptp(accuracies) == 0:
        return None
    from sklearn.ensemble import RandomForestRegressor  # a second to import
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    codes = pd.DataFrame({name: _numbers(finished[name]) for name in factors}).to_numpy()
    errors, worsened = 0.0, np.zeros(len(factors))
    for fitted, left_out in KFold(_FOLDS, shuffle=True, random_state=0).split(codes):
        forest = RandomForestRegressor(_TREES, random_state=0).fit(codes[fitted], accuracies[fitted])
        asked, truth = codes[left_out], accuracies[left_out]
        errors += float(np.square(forest.predict(asked) - truth).sum())
        found = permutation_importance(
            forest, asked, truth, scoring="neg_mean_squared_error", n_repeats=_SHUFFLES, random_state=0
        )
        worsened += len(left_out) * found.importances_mean
    total = float(np.square(accuracies - accuracies.mean()).sum())
    return Importance(
        num_trials=len(finished),
        explained=1 - errors / total,
        lost=pd.Series(worsened / total, index=factors).sort_values(ascending=False, kind="stable"),
    )


def _numbers(values: pd.Series) -> pd.Series:
    """Numbers as they are, words by their place in the alphabet; -1 for none, which is what a plain loss has."""
    if pd.api.types.is_float_dtype(values) or pd.api.types.is_integer_dtype(values):
        return values.astype("float64").fillna(-1.0)
    codes, _ = pd.factorize(values, sort=True)
    return pd.Series(codes.astype("float64"), index=values.index)
