"""Calibration: whether predictions made with 80 % confidence are right in 80 of 100 cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15  # as in Guo et al., ICML 2017, arXiv:1706.04599, and most of what cites it


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Images by the confidence of their prediction, in `NUM_BINS` equal bins [low, high); the last one includes 1."""

    counts: tuple[int, ...]
    confidence: tuple[float, ...]  # mean of each bin, in [0, 1]; 0 in an empty one
    accuracy: tuple[float, ...]  # share predicted right; 0 in an empty bin

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy over the bins, weighted by images."""
        gaps = np.abs(np.subtract(self.confidence, self.accuracy))
        return float(np.average(gaps, weights=self.counts))


def reliability_of(confidences: NDArray[np.floating[Any]], correct: NDArray[np.bool_]) -> Reliability:
    """The bins of a reliability diagram.

    Args:
        confidences: (N,) probability of the predicted class, in [0, 1]; N > 0.
        correct: (N,) whether the prediction is right.

    Raises:
        ValueError: a confidence is outside [0, 1] or not a number.

    Example:
        >>> found = reliability_of(np.array([0.9, 0.9, 0.9, 0.9]), np.array([True, True, True, False]))
        >>> round(found.ece, 2), sum(found.counts)
        (0.15, 4)
    """
    confidences = confidences.astype(np.float64)
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise ValueError("a confidence is outside [0, 1]")
    bins = np.minimum(np.digitize(confidences, np.linspace(0, 1, NUM_BINS + 1)) - 1, NUM_BINS - 1)
    counts = np.bincount(bins, minlength=NUM_BINS)
    sums = (np.bincount(bins, weights=values, minlength=NUM_BINS) for values in (confidences, correct))
    confidence, accuracy = (total / np.maximum(counts, 1) for total in sums)
    return Reliability(
        counts=tuple(counts.tolist()), confidence=tuple(confidence.tolist()), accuracy=tuple(accuracy.tolist())
    )
