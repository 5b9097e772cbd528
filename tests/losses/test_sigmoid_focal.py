from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from ccar.losses import build_loss, ccar_weight
from ccar.losses.class_balanced import class_balanced_weights
from ccar.losses.class_prior import checked_class_counts
from ccar.losses.sigmoid_focal import SigmoidFocal

GAMMAS = [0.0, 0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("gamma", "p", "loss", "psi"),
    [
        (2.0, 0.1, 1.86509393, 1.22446532),
        (2.0, 0.5, 0.17328680, 0.59657359),
        (2.0, 0.9, 0.00105361, 0.02896489),
        (1.0, 0.1, 2.07232658, 1.13025851),
        (1.0, 0.5, 0.34657359, 0.84657359),
        (1.0, 0.9, 0.01053605, 0.19482446),
    ],
)
def test_one_binary_term_and_its_gradient_scale_agree_with_golden_numbers(gamma, p, loss, psi):
    logits = torch.tensor([[math.log(p / (1 - p))]], dtype=torch.float64, requires_grad=True)
    value = build_loss("sigmoid_focal", [1], gamma=gamma)(logits, torch.tensor([0]))
    value.backward()
    assert value.item() == pytest.approx(loss, abs=6e-9)
    assert -logits.grad.item() / (1 - p) == pytest.approx(psi, abs=1e-8)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_value_and_gradient_are_torchvisions_summed_over_classes(gamma, tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value = build_loss("sigmoid_focal", class_counts, gamma=gamma)(ours, labels)
    one_hot = F.one_hot(labels, 4).double()
    expected = sigmoid_focal_loss(theirs, one_hot, alpha=-1, gamma=gamma, reduction="sum") / len(labels)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("z", [-1e4, -300.0, -80.0, -17.0, -1.0, 0.0, 1.0, 17.0, 40.0])
def test_float32_keeps_the_digits_of_value_and_gradient_from_p_0_to_p_1(z, gamma):
    logits = torch.tensor([[z, -50.0]], requires_grad=True)
    value = build_loss("sigmoid_focal", [1, 1], gamma=gamma)(logits, torch.tensor([0]))
    value.backward()
    wrong, right = np.logaddexp(0, np.longdouble(-z)), np.logaddexp(0, np.longdouble(z))
    modulator, p, rest = np.exp(-gamma * right), np.exp(-wrong), np.exp(-right)
    # the class beside it is answered rightly with p = 1 - 2e-22
    assert value.item() == pytest.approx(float(modulator * wrong), rel=2e-5, abs=1e-21)
    slope = float(-modulator * (rest + gamma * p * wrong))
    assert logits.grad[0, 0].item() == pytest.approx(slope, rel=2e-5, abs=1e-37)


@pytest.mark.parametrize("name", ["sigmoid_focal", "class_balanced_sigmoid_focal"])
@pytest.mark.parametrize("gamma", [0.0, 1e-3, 0.5, 1.0, 2.0, 50.0, 1e30])
def test_values_and_gradients_are_finite_however_large_the_logits(gamma, name):
    sizes = torch.tensor([0, 17, 50, 87, 100, 1e4, 3.3e38])
    logits = torch.cat([sizes, -sizes])[:, None].repeat(1, 3).requires_grad_()
    value = build_loss(name, [1, 1, 1], gamma=gamma)(logits, torch.zeros(14, dtype=torch.int64))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_the_gradient_of_a_hopelessly_wrong_answer_is_one(class_counts):
    logits = torch.tensor([[-3.3e38, 3.3e38, -3.3e38, 0.0]], requires_grad=True)
    build_loss("sigmoid_focal", class_counts, gamma=2.0)(logits, torch.tensor([0])).backward()
    assert logits.grad[0].tolist() == pytest.approx([-1, 1, 0, 0.25 * (0.5 + math.log(2))])


@pytest.mark.parametrize("confidence", ["adjusted", "raw"])
def test_omega_takes_its_confidence_from_the_softmax_of_the_logits(confidence, tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])
    frequency = torch.tensor(class_counts, dtype=torch.float64)[labels] / sum(class_counts)

    def obvious(z):
        p = z.softmax(1)[torch.arange(len(labels)), labels]
        focal = sigmoid_focal_loss(z, F.one_hot(labels, 4).double(), alpha=-1, gamma=1).sum(1)
        return (ccar_weight(p, frequency, 0.6) * focal).mean()

    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    reweighting = {"omega": 0.6, "confidence": confidence}
    value = build_loss("sigmoid_focal", class_counts, reweighting=reweighting)(ours, labels)
    torch.testing.assert_close(value, obvious(theirs))
    value.backward()
    obvious(theirs).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("num_classes", [2, 10, 100, 8142])
def test_with_the_initial_bias_every_class_has_the_same_share_of_one(num_classes):
    bias = SigmoidFocal([1] * num_classes).initial_bias
    assert 1 / (1 + math.exp(-bias)) == pytest.approx(1 / num_classes)


def test_the_initial_bias_belongs_to_the_sigmoid_losses_alone():
    assert SigmoidFocal([5] * 100).initial_bias == pytest.approx(-math.log(99))
    assert SigmoidFocal([5]).initial_bias == 0
    assert build_loss("class_balanced_sigmoid_focal", [5, 1, 1]).base.initial_bias == pytest.approx(-math.log(2))
    assert build_loss("focal", [5, 1, 1]).base.initial_bias is None


def test_class_weights_are_the_class_balanced_ones_and_the_mean_divides_by_the_number_of_images(
    tail_batch, class_counts
):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])
    weights = class_balanced_weights(checked_class_counts(class_counts), 0.9)[labels]
    per_image = build_loss("sigmoid_focal", class_counts, gamma=2, reduction="none")(logits, labels)
    value = build_loss("class_balanced_sigmoid_focal", class_counts, beta=0.9, gamma=2)(logits, labels)
    torch.testing.assert_close(value, (weights * per_image).sum() / len(labels))


def test_beta_0_is_the_loss_without_class_weights(tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])
    value = build_loss("class_balanced_sigmoid_focal", class_counts, beta=0)(logits, labels)
    torch.testing.assert_close(value, build_loss("sigmoid_focal", class_counts)(logits, labels))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -1}, "gamma must be a number at least 0"),
        ({"gamma": float("inf")}, "gamma must be a number at least 0"),
        ({"beta": 1}, "beta must be a number at least 0 and below 1"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_loss("class_balanced_sigmoid_focal", [5, 1], **options)
