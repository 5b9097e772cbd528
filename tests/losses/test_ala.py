from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ccar.data.class_counts import published_class_counts
from ccar.losses import build_loss
from ccar.losses.ala import ala_quantity_factors
from ccar.losses.class_prior import checked_class_counts
from tests.losses.conftest import cifar100_lt_counts


@pytest.fixture
def cosines(tail_batch):
    return torch.tensor(tail_batch[0]).tanh(), torch.tensor(tail_batch[1])


@pytest.mark.parametrize(
    ("counts", "head"),
    [
        (published_class_counts("imagenet_lt"), 0.1802),
        (published_class_counts("inaturalist2018"), 0.1609),
        (cifar100_lt_counts(100), 0.2167),
    ],
    ids=["imagenet_lt", "inaturalist2018", "cifar100_lt"],
)
def test_quantity_factors_of_the_benchmarks_agree_with_golden_numbers(counts, head):
    factors = ala_quantity_factors(checked_class_counts(counts))
    assert factors.min().item() == pytest.approx(head, abs=6e-5)
    assert factors.max().item() == pytest.approx(1.4427, abs=6e-5)
    assert factors.argmin().item() == counts.index(max(counts))
    assert factors.argmax().item() == counts.index(min(counts))


@pytest.mark.parametrize("difficulty_gradient", ["through", "detached"])
def test_value_and_gradient_are_torchs_of_cosines_less_difficulty_times_quantity(
    difficulty_gradient, cosines, class_counts
):
    logits, labels = cosines
    factors = torch.tensor([1 / torch.tensor(n / 2 + 1.0).double().log() for n in class_counts])

    def obvious(z):
        difficulty = (1 - z[torch.arange(len(labels)), labels]) / 2
        if difficulty_gradient == "detached":
            difficulty = difficulty.detach()
        return F.cross_entropy(30 * (z - (difficulty * factors[labels])[:, None] * F.one_hot(labels, 4)), labels)

    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value = build_loss("ala", class_counts, difficulty_gradient=difficulty_gradient)(ours, labels)
    expected = obvious(theirs)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_gradient_through_the_difficulty_is_steeper_for_the_true_class_and_for_no_other(cosines, class_counts):
    logits, labels = cosines
    gradients = []
    for difficulty_gradient in ("through", "detached"):
        z = logits.clone().requires_grad_()
        build_loss("ala", class_counts, difficulty_gradient=difficulty_gradient)(z, labels).backward()
        gradients.append(z.grad)
    slopes = 1 + ala_quantity_factors(checked_class_counts(class_counts))[labels] / 2
    expected = torch.where(F.one_hot(labels, 4).bool(), slopes[:, None] * gradients[1], gradients[1])
    torch.testing.assert_close(gradients[0], expected)


def test_an_image_that_lies_in_the_direction_of_its_class_has_no_margin(class_counts):
    logits, labels = torch.tensor([[0.2, 0.1, -0.3, 1.0]], dtype=torch.float64), torch.tensor([3])
    torch.testing.assert_close(build_loss("ala", class_counts)(logits, labels), F.cross_entropy(30 * logits, labels))


def test_a_tail_image_costs_more_than_a_head_image_at_equal_cosines(class_counts):
    losses = build_loss("ala", class_counts, reduction="none")(torch.full((4, 4), 0.3), torch.arange(4))
    assert (losses.diff() > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0}, "scale must be a number above 0"),
        ({"difficulty_gradient": "detach"}, "unknown difficulty_gradient 'detach'; did you mean 'detached'"),
        ({"difficulty_gradient": True}, "unknown difficulty_gradient True"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_loss("ala", [5, 1], **options)
