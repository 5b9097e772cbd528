from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ccar.losses import build_loss
from ccar.losses.class_balanced import class_balanced_weights
from ccar.losses.class_prior import checked_class_counts
from ccar.losses.ldam import ldam_margins
from tests.losses.conftest import cifar100_lt_counts


@pytest.mark.parametrize(("imbalance_factor", "head"), [(10, 0.2812), (50, 0.1880), (100, 0.1581), (200, 0.1257)])
def test_margins_of_cifar100_lt_agree_with_golden_numbers(imbalance_factor, head):
    margins = ldam_margins(checked_class_counts(cifar100_lt_counts(imbalance_factor)), max_margin=0.5)
    assert margins[0].item() == pytest.approx(head, abs=6e-5)
    assert margins[-1].item() == 0.5
    assert (margins.diff() >= 0).all()


def test_value_is_torchs_cross_entropy_of_scaled_cosines_minus_margins(tail_batch, class_counts):
    cosines, labels = torch.tensor(tail_batch[0]).tanh(), torch.tensor(tail_batch[1])
    margins = torch.tensor([0.5 * (2 / n) ** 0.25 for n in class_counts], dtype=torch.float64)
    adjusted = 30 * (cosines - margins[labels, None] * F.one_hot(labels, 4))
    torch.testing.assert_close(build_loss("ldam", class_counts)(cosines, labels), F.cross_entropy(adjusted, labels))


def test_drw_leaves_the_loss_alone_before_its_epoch_and_weighs_as_torch_does_from_it_on(tail_batch, class_counts):
    cosines, labels = torch.tensor(tail_batch[0]).tanh(), torch.tensor(tail_batch[1])
    never = build_loss("ldam", class_counts, drw_start=1)
    loss_fn = build_loss("ldam", class_counts)
    unweighted = never(cosines, labels)
    assert loss_fn(cosines, labels) == unweighted
    loss_fn.set_epoch(159, num_epochs=200)
    assert loss_fn(cosines, labels) == unweighted

    loss_fn.set_epoch(160, num_epochs=200)
    margins = ldam_margins(checked_class_counts(class_counts), 0.5)
    adjusted = 30 * (cosines - margins[labels, None] * F.one_hot(labels, 4))
    weights = class_balanced_weights(checked_class_counts(class_counts), 0.9999)
    torch.testing.assert_close(loss_fn(cosines, labels), F.cross_entropy(adjusted, labels, weights))

    loss_fn.set_epoch(159, num_epochs=200)  # an earlier checkpoint is trained on
    assert loss_fn(cosines, labels) == unweighted


@pytest.mark.parametrize(
    ("drw_start", "num_epochs", "first"), [(0.8, 200, 160), (0.7, 10, 7), (0.3, 10, 3), (0.8, 13, 11), (0, 5, 0)]
)
def test_drw_starts_with_the_first_epoch_that_has_that_share_behind_it(drw_start, num_epochs, first):
    loss_fn = build_loss("ldam", [5, 1], drw_start=drw_start)
    on = []
    for epoch in range(num_epochs):
        loss_fn.set_epoch(epoch, num_epochs)
        on.append(loss_fn.base.drw_is_on)
    assert on.index(True) == first
    assert all(on[first:])


def test_drw_that_always_holds_needs_no_epoch_and_drw_that_never_holds_ignores_it():
    assert build_loss("ldam", [5, 1], drw_start=0).base.drw_is_on
    never = build_loss("ldam", [5, 1], drw_start=1)
    never.set_epoch(199, num_epochs=200)
    assert not never.base.drw_is_on


def test_other_losses_hear_of_epochs_without_change(tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])
    for base in ("cross_entropy", lambda z, y: F.cross_entropy(z, y, reduction="none")):
        loss_fn = build_loss(base, class_counts)
        before = loss_fn(logits, labels)
        loss_fn.set_epoch(9, num_epochs=10)
        assert loss_fn(logits, labels) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_margin": 0}, "max_margin must be a number above 0"),
        ({"scale": -30}, "scale must be a number above 0"),
        ({"drw_start": 160}, r"drw_start must be a number in \[0, 1\]"),
        ({"drw_beta": 1}, "drw_beta must be a number at least 0 and below 1"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_loss("ldam", [5, 1], **options)
