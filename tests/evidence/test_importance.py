"""What explains validation accuracy is told where there is enough to tell it from."""

from __future__ import annotations

import numpy as np
import pytest

from ccar.evidence.importance import MIN_TRIALS, importance
from ccar.evidence.selection import CRITERION
from tests.evidence.made_up_study import made_up_study


@pytest.fixture(scope="module")
def trials():
    """Sixty finished trials of two base losses, plain and with two omegas, of ten seeds."""
    return made_up_study(seeds=range(10)).validation


def with_accuracies(trials, accuracies):
    return trials.assign(**{CRITERION: accuracies, "status": "finished"})


def test_the_factor_that_makes_the_accuracies_explains_them(trials):
    noise = 0.001 * np.random.default_rng(0).standard_normal(len(trials))
    found = importance(with_accuracies(trials, 0.5 + 0.1 * (trials["base"] == "balanced_softmax") + noise))
    assert found is not None
    assert found.num_trials == len(trials)
    assert found.explained == pytest.approx(1.0, abs=0.01)
    assert found.lost.index[0] == "family"
    assert found.lost["family"] > 1  # shuffled, it misleads: worse than the mean
    assert found.lost.drop("family").abs().max() < 0.01


def test_noise_is_explained_by_nothing(trials):
    found = importance(with_accuracies(trials, np.random.default_rng(0).random(len(trials))))
    assert found is not None
    assert found.explained < 0.1


def test_what_does_not_vary_among_the_reweighted_is_no_factor(trials):
    found = importance(with_accuracies(trials, np.linspace(0.4, 0.6, len(trials))))
    assert found is not None
    assert set(found.lost.index) == {"family", "omega", "seed"}


def test_the_same_trials_give_the_same_answer(trials):
    accuracies = np.random.default_rng(1).random(len(trials))
    first, second = (importance(with_accuracies(trials, accuracies)) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.lost.equals(second.lost)


def test_nothing_is_said_of_too_few_trials_or_equal_ones(trials):
    varied = with_accuracies(trials, np.linspace(0.4, 0.6, len(trials)))
    assert importance(varied.head(MIN_TRIALS - 1)) is None
    assert importance(varied.assign(status="diverged")) is None
    assert importance(varied.assign(**{CRITERION: np.nan})) is None
    assert importance(varied.assign(**{CRITERION: 0.5})) is None
