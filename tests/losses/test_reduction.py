from __future__ import annotations

import math

import pytest
import torch

from ccar.losses import build_loss, ccar_weight

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5], [0.3, 0.2, 0.1]], dtype=torch.float64)
LABELS = torch.tensor([0, 2, 1])
COUNTS = [30, 9, 1]
REWEIGHTING = {"omega": 0.75, "frequency": "max_normalised"}


def weights_and_losses(logits):
    p = logits.softmax(1)[torch.arange(3), LABELS]
    frequency = torch.tensor(COUNTS, dtype=torch.float64)[LABELS] / 30
    return ccar_weight(p, frequency, 0.75), -p.log()


def test_weight_normalised_divides_by_the_sum_of_the_weights():
    weights, losses = weights_and_losses(LOGITS)
    value = build_loss("cross_entropy", COUNTS, reweighting=REWEIGHTING, reduction="weight_normalised")
    torch.testing.assert_close(value(LOGITS, LABELS), (weights * losses).sum() / weights.sum())


@pytest.mark.parametrize("confidence", ["adjusted", "raw"])
def test_scale_matched_divides_by_the_running_mean_that_the_docstring_defines(confidence):
    loss_fn = build_loss(
        "cross_entropy", COUNTS, reweighting=REWEIGHTING | {"confidence": confidence}, reduction="scale_matched"
    )
    running = None
    for t in range(1, 16):
        logits = LOGITS * math.sin(t)
        weights, losses = weights_and_losses(logits)
        share = max(1 / t, 0.1)
        running = weights.mean() if running is None else running + share * (weights.mean() - running)
        torch.testing.assert_close(loss_fn(logits, LABELS), (weights * losses).mean() / running)

    loss_fn.eval()  # nothing moves any more
    for factor in (0.5, 2.0):
        weights, losses = weights_and_losses(LOGITS * factor)
        torch.testing.assert_close(loss_fn(LOGITS * factor, LABELS), (weights * losses).mean() / running)


def test_scale_matched_is_the_mean_as_long_as_nothing_was_trained():
    one, other = (
        build_loss("focal", COUNTS, reweighting=REWEIGHTING, reduction=r).eval() for r in ("scale_matched", "mean")
    )
    assert one(LOGITS, LABELS) == other(LOGITS, LABELS)


def test_scale_matching_takes_out_what_omega_multiplies_below_the_pivot():
    values = []
    for omega in (0.5, 0.75, 1.0):  # every p_t lies below 0.5
        reweighting = {"omega": omega, "phase": "standard_only"}
        loss_fn = build_loss("cross_entropy", COUNTS, reweighting=reweighting, reduction="scale_matched")
        values.append(loss_fn(torch.zeros(3, 3, dtype=torch.float64), LABELS).item())
    assert values == pytest.approx([values[0]] * 3, rel=2e-2)


@pytest.mark.parametrize("reduction", ["weight_normalised", "scale_matched"])
def test_without_omega_every_reduction_is_the_mean(reduction):
    value = build_loss("focal", COUNTS, reduction=reduction)(LOGITS, LABELS)
    torch.testing.assert_close(value, build_loss("focal", COUNTS)(LOGITS, LABELS))


def test_running_mean_is_saved_with_the_model_and_nothing_else_is():
    plain = build_loss("ldam", COUNTS, reweighting=REWEIGHTING)
    assert list(plain.state_dict()) == []
    matched = build_loss("ldam", COUNTS, reweighting=REWEIGHTING, reduction="scale_matched")
    assert list(matched.state_dict()) == ["reduction.running_omega", "reduction.num_batches"]


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="unknown reduction 'weight_normalized'; did you mean 'weight_normalised'"):
        build_loss("focal", COUNTS, reduction="weight_normalized")
