import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccar.metrics.accuracy import evaluate_predictions, group_of_class

SURE = np.ones(2)  # of two predictions


def test_the_group_borders_are_those_of_the_literature():
    assert group_of_class([101, 100, 20, 19, 1]) == ("many", "medium", "medium", "few", "few")


@pytest.mark.parametrize(
    ("imbalance_factor", "sizes"),
    [(10, (69, 31, 0)), (50, (41, 41, 18)), (100, (35, 35, 30)), (200, (30, 31, 39))],
)
def test_cifar100_lt_has_the_published_group_sizes(imbalance_factor, sizes):
    counts = [int(500 * (1 / imbalance_factor) ** (i / 99)) for i in range(100)]
    found = Counter(group_of_class(counts))
    assert (found["many"], found["medium"], found["few"]) == sizes


def test_each_figure_follows_by_hand_from_five_predictions():
    labels = np.array([0, 0, 0, 1, 2])
    predicted = np.array([0, 0, 1, 1, 0])
    found = evaluate_predictions(predicted, labels, np.full(5, 0.6), 0.5, [300, 50, 5], 3)
    assert found.num_images == 5
    assert found.loss == 0.5
    assert found.accuracy == 3 / 5
    assert found.per_class == (2 / 3, 1.0, 0.0)
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert (found.many, found.medium, found.few) == (2 / 3, 1.0, 0.0)
    assert found.worst_class == 0.0
    assert found.ece == pytest.approx(0.0)  # 60 % confidence, three of five right


def test_a_group_without_a_class_is_none_not_zero():
    found = evaluate_predictions(np.array([0, 1]), np.array([0, 1]), SURE, 0.0, [500, 400], 2)
    assert (found.many, found.medium, found.few) == (1.0, None, None)


def test_a_class_without_an_image_has_no_recall_and_is_refused():
    with pytest.raises(ValueError, match="no image to evaluate class 1"):
        evaluate_predictions(np.array([0, 2]), np.array([0, 2]), SURE, 0.0, [5, 5, 5], 3)


def test_predictions_and_labels_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="two equal"):
        evaluate_predictions(np.array([0]), np.array([0, 1]), SURE, 0.0, [5, 5], 2)


def test_class_counts_for_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match="3 class counts for 2 classes"):
        evaluate_predictions(np.array([0, 1]), np.array([0, 1]), SURE, 0.0, [5, 5, 5], 2)


@settings(max_examples=60)
@given(
    class_counts=st.lists(st.integers(1, 600), min_size=1, max_size=30),
    images_per_class=st.integers(1, 7),
    seed=st.integers(0, 2**32 - 1),
)
def test_on_a_balanced_set_overall_accuracy_is_the_class_weighted_sum_of_the_groups(
    class_counts, images_per_class, seed
):
    num_classes = len(class_counts)
    labels = np.repeat(np.arange(num_classes), images_per_class)
    predicted = np.random.default_rng(seed).integers(num_classes, size=len(labels))
    found = evaluate_predictions(predicted, labels, np.ones(len(labels)), 1.0, class_counts, num_classes)
    sizes = Counter(group_of_class(class_counts))
    summed = sum(
        sizes[group] / num_classes * accuracy
        for group, accuracy in [("many", found.many), ("medium", found.medium), ("few", found.few)]
        if accuracy is not None
    )
    assert found.accuracy == pytest.approx(summed)
    assert found.accuracy == pytest.approx(found.balanced_accuracy)


def test_the_metrics_can_be_read_without_torch():
    check = "import sys, ccar.metrics.accuracy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
