"""The normal form of a re-weighting, against the losses themselves."""

from __future__ import annotations

import itertools

import pytest
import torch

from ccar.losses import build_loss
from ccar.training.config import (
    GALA,
    LDAM,
    BalancedSoftmax,
    ClassBalancedSigmoidFocal,
    CrossEntropy,
    FocalLogitAdjustment,
    Reweighting,
)

COUNTS = [50, 20, 8, 3]
FREQUENCIES = [
    *itertools.product(("fraction", "effective_number"), (0.9, 0.99)),
    ("uniform", 0.99),
    ("none", 0.99),
]
POINTS = [
    (
        Reweighting(
            omega=omega,
            frequency=frequency,
            effective_number_beta=beta,
            phase=phase,
            confidence=confidence,
            keep_z=keep_z,
        ),
        reduction,
    )
    for omega, (frequency, beta), phase, confidence, keep_z, reduction in itertools.product(
        (0.5, 0.8),
        FREQUENCIES,
        ("dual", "standard_only", "inverted_only", "constant"),
        ("adjusted", "raw"),
        (False, True),
        ("mean", "weight_normalised", "scale_matched"),
    )
]
BASES = [
    CrossEntropy(),
    FocalLogitAdjustment(),
    BalancedSoftmax(),
    LDAM(drw_start=0, scale=2.0),  # as published, p_t would be 0 or 1 for these logits
    GALA(),
    ClassBalancedSigmoidFocal(),
]


def loss_and_gradient(base, reweighting, reduction):
    """(1 + 40 * 4,) of the second of two batches: then GALA's sums and the running mean of Omega have begun."""
    options = base.model_dump(exclude={"name"})
    loss = build_loss(base.name, COUNTS, reweighting=reweighting.model_dump(), reduction=reduction, **options)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        logits = 1.5 * torch.randn(40, len(COUNTS), dtype=torch.float64, generator=generator)
        labels = torch.randint(0, len(COUNTS), (40,), generator=generator)
        value = loss(logits.requires_grad_(), labels)
    value.backward()
    return torch.cat([value.detach()[None], logits.grad.flatten()])


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_two_re_weightings_have_one_normal_form_exactly_where_they_are_one_loss(base):
    by_form = {}
    for point, reduction in POINTS:
        form = point.normal_form(base, reduction)
        if "omega" in form.unused(base, reduction):
            form = form.model_copy(update={"omega": 1.0})
        by_form.setdefault((form, reduction), []).append(loss_and_gradient(base, point, reduction))
    for same in by_form.values():
        torch.testing.assert_close(torch.stack(same), same[0].expand(len(same), -1), rtol=1e-9, atol=1e-12)
    assert torch.pdist(torch.stack([same[0] for same in by_form.values()])).min() > 1e-6


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_a_normal_form_is_its_own(base):
    for point, reduction in POINTS:
        form = point.normal_form(base, reduction)
        assert form.normal_form(base, reduction) == form
