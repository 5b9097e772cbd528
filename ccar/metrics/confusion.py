"""Confusion: which classes are taken for which others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_PAIRS = 50  # of the K (K - 1) there are: all of 8,142 classes would be larger than the trained model


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusions:
    """The pairs of classes that are most often confused, the most frequent first: a part of the confusion matrix."""

    labels: tuple[int, ...]  # true class of each pair
    predicted: tuple[int, ...]  # what its images were taken for
    counts: tuple[int, ...]  # how many of them, at least 1


def most_confused(predicted: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]]) -> Confusions:
    """The `MOST_PAIRS` largest entries of the confusion matrix off its diagonal; of equal ones the first by class.

    Args:
        predicted: (N,) predicted classes, from 0.
        labels: (N,) true classes, from 0.

    Example:
        >>> most_confused(np.array([1, 1, 0, 2]), np.array([0, 0, 0, 1]))
        Confusions(labels=(0, 1), predicted=(1, 2), counts=(2, 1))
    """
    wrong = predicted != labels
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]]), axis=1, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:MOST_PAIRS]
    labels_of, predicted_as = pairs[:, largest].tolist()
    return Confusions(labels=tuple(labels_of), predicted=tuple(predicted_as), counts=tuple(counts[largest].tolist()))
