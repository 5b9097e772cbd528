"""The most confused pairs against scikit-learn's whole confusion matrix."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix

from ccar.metrics.confusion import MOST_PAIRS, Confusions, most_confused


def test_the_counts_are_those_of_scikit_learns_confusion_matrix_the_largest_first():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 20, 3000)
    predicted = np.where(generator.random(3000) < 0.5, labels, generator.integers(0, 20, 3000))
    found = most_confused(predicted, labels)
    matrix = confusion_matrix(labels, predicted)
    np.fill_diagonal(matrix, 0)
    assert [matrix[pair] for pair in zip(found.labels, found.predicted, strict=True)] == list(found.counts)
    assert list(found.counts) == sorted(matrix.ravel(), reverse=True)[:MOST_PAIRS]


def test_a_network_that_is_always_right_confuses_nothing():
    labels = np.array([0, 1, 2])
    assert most_confused(labels, labels) == Confusions(labels=(), predicted=(), counts=())


def test_of_equally_frequent_pairs_the_first_classes_come_first():
    found = most_confused(np.array([2, 0, 1]), np.array([1, 2, 0]))
    assert (found.labels, found.predicted, found.counts) == ((0, 1, 2), (1, 2, 0), (1, 1, 1))
