from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ccar.losses import build_loss
from ccar.losses.class_balanced import class_balanced_weights
from ccar.losses.class_prior import checked_class_counts
from tests.losses.conftest import cifar100_lt_counts


@pytest.mark.parametrize(
    ("imbalance_factor", "beta", "head", "tail"),
    [
        (100, 0.9, 0.8202, 2.0029),
        (100, 0.99, 0.1965, 3.9835),
        (100, 0.999, 0.0551, 4.3445),
        (100, 0.9999, 0.0449, 4.3783),
        (200, 0.9, 0.6360, 3.3472),
        (200, 0.9999, 0.0237, 5.7849),
        (50, 0.9, 0.9326, 1.4318),
        (50, 0.9999, 0.0789, 3.8494),
    ],
)
def test_weights_of_cifar100_lt_agree_with_golden_numbers(imbalance_factor, beta, head, tail):
    weights = class_balanced_weights(checked_class_counts(cifar100_lt_counts(imbalance_factor)), beta)
    assert weights[0].item() == pytest.approx(head, abs=6e-5)
    assert weights[-1].item() == pytest.approx(tail, abs=6e-5)
    assert weights.sum().item() == pytest.approx(100)


def test_a_small_beta_does_nothing_when_every_class_has_many_images():
    counts = checked_class_counts(cifar100_lt_counts(100, num_classes=10, largest=5000))
    assert class_balanced_weights(counts, beta=0.9).tolist() == pytest.approx([1] * 10, abs=0.01)


@pytest.mark.parametrize(
    ("balanced", "plain"), [("class_balanced", "cross_entropy"), ("class_balanced_focal", "focal")]
)
def test_beta_0_is_the_loss_without_class_weights(balanced, plain, tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])
    value = build_loss(balanced, class_counts, beta=0)(logits, labels)
    assert value.item() == pytest.approx(build_loss(plain, class_counts)(logits, labels).item())


def test_the_mean_divides_by_the_number_of_images_and_not_by_their_weights(tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])
    weights = class_balanced_weights(checked_class_counts(class_counts), 0.9)
    value = build_loss("class_balanced", class_counts, beta=0.9)(logits, labels)
    torch.testing.assert_close(value, F.cross_entropy(logits, labels, weights, reduction="sum") / len(labels))


@pytest.mark.parametrize("beta", [1, 1.5, -0.1, float("nan")])
def test_a_beta_outside_its_range_is_refused(beta):
    with pytest.raises(ValueError, match="beta must be a number at least 0 and below 1"):
        build_loss("class_balanced", [1, 1], beta=beta)
