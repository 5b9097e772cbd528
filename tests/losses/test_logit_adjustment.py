from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ccar.losses import build_loss, post_hoc_logit_adjustment


def value_and_gradient(loss_fn, logits, labels):
    logits = logits.clone().requires_grad_()
    value = loss_fn(logits, labels)
    return value.detach(), torch.autograd.grad(value, logits)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("reweighting", [None, {"omega": 0.75}, {"omega": 0.75, "confidence": "raw"}], ids=str)
@pytest.mark.parametrize(
    ("adjusted", "balanced"),
    [("logit_adjustment", "balanced_softmax"), ("focal_logit_adjustment", "focal_balanced_softmax")],
)
def test_tau_1_is_balanced_softmax(adjusted, balanced, reweighting, dtype, tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0], dtype=dtype), torch.tensor(tail_batch[1])
    one, other = (
        value_and_gradient(build_loss(name, class_counts, reweighting=reweighting), logits, labels)
        for name in (adjusted, balanced)
    )
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_balanced_softmax_is_torchs_cross_entropy_on_logits_plus_log_counts(tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])
    counts = torch.tensor(class_counts, dtype=torch.float64)
    expected = value_and_gradient(lambda z, y: F.cross_entropy(z + counts.log(), y), logits, labels)
    actual = value_and_gradient(build_loss("balanced_softmax", class_counts), logits, labels)
    torch.testing.assert_close(actual, expected)


def test_tau_0_is_cross_entropy(tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])
    value = build_loss("logit_adjustment", class_counts, tau=0)(logits, labels)
    assert value.item() == pytest.approx(F.cross_entropy(logits, labels).item())


def test_a_tail_image_costs_more_than_a_head_image_at_equal_logits(class_counts):
    losses = build_loss("logit_adjustment", class_counts, reduction="none")(torch.zeros(4, 4), torch.arange(4))
    assert (losses.diff() > 0).all()


def test_post_hoc_adjustment_takes_the_prior_away_that_the_loss_adds(tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])
    corrected = post_hoc_logit_adjustment(logits, class_counts, tau=1.3)
    value = build_loss("logit_adjustment", class_counts, tau=1.3)(corrected, labels)
    assert value.item() == pytest.approx(F.cross_entropy(logits, labels).item())


def test_post_hoc_adjustment_turns_a_tie_to_the_rarest_class(class_counts):
    assert post_hoc_logit_adjustment(torch.zeros(1, 4, dtype=torch.bfloat16), class_counts).argmax() == 3


def test_post_hoc_adjustment_refuses_what_does_not_fit(class_counts):
    with pytest.raises(ValueError, match=r"\(N, 4\).*not \(1, 5\)"):
        post_hoc_logit_adjustment(torch.zeros(1, 5), class_counts)
    for tau in (-1, float("nan")):
        with pytest.raises(ValueError, match="tau must be a number at least 0"):
            post_hoc_logit_adjustment(torch.zeros(1, 4), class_counts, tau)
        with pytest.raises(ValueError, match="tau must be a number at least 0"):
            build_loss("logit_adjustment", class_counts, tau=tau)
