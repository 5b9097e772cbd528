from __future__ import annotations

import math

import pytest
import torch

from ccar.losses import build_loss


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
def test_value_and_gradient_scale_agree_with_golden_numbers(gamma, p, loss, psi):
    logits = torch.tensor([[math.log(p), math.log1p(-p)]], dtype=torch.float64, requires_grad=True)
    value = build_loss("focal", [1, 1], gamma=gamma)(logits, torch.tensor([0]))
    value.backward()
    assert value.item() == pytest.approx(loss, abs=6e-9)
    assert logits.grad[0, 1].item() / (1 - p) == pytest.approx(psi, abs=1e-8)


def test_gamma_0_is_cross_entropy(tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])
    focal = build_loss("focal", class_counts, gamma=0)(logits, labels)
    assert focal.item() == pytest.approx(build_loss("cross_entropy", class_counts)(logits, labels).item())


@pytest.mark.parametrize("gamma", [0.0, 1e-3, 0.5, 1.0, 2.0, 50.0])
def test_gradient_is_finite_where_the_modulator_has_infinite_slope(gamma):
    logits = torch.tensor([[gap, 0.0] for gap in (0, 17, 50, 87, 100, 1e4)], requires_grad=True)
    build_loss("focal", [1, 1], gamma=gamma)(logits, torch.zeros(6, dtype=torch.int64)).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [-1, float("nan"), float("inf"), "2"])
def test_a_gamma_outside_its_range_is_refused(gamma):
    for name in ("focal", "class_balanced_focal", "focal_logit_adjustment", "focal_balanced_softmax"):
        with pytest.raises(ValueError, match="gamma must be a number at least 0"):
            build_loss(name, [1, 1], gamma=gamma)
