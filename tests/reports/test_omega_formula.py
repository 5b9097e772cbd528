from __future__ import annotations

import numpy as np
import pytest
import torch

from ccar.losses import build_loss, ccar_weight
from ccar.losses.class_prior import checked_class_counts, class_frequency
from ccar.reports.omega_formula import (
    class_frequencies,
    focal_gradient_factor,
    gradient_factor,
    omega_weight,
)

COUNTS = [500, 60, 5]
P = np.array([0.02, 0.1, 0.3, 0.55, 0.8, 0.97])
SWITCHES = [
    {"frequency": "fraction"},
    {"frequency": "max_normalised", "phase": "standard_only"},
    {"frequency": "effective_number", "effective_number_beta": 0.9, "phase": "inverted_only"},
    {"frequency": "effective_number", "effective_number_beta": 0.0},
    {"frequency": "uniform", "keep_z": True},
    {"frequency": "none", "gradient": "detached"},
    {"frequency": "fraction", "phase": "constant"},
]


def psi_of(loss):
    """From the gradient on the logit of the other one of two classes, which is Psi (1 - p_t)."""
    p = torch.from_numpy(P)
    logits = torch.stack((p.log(), (1 - p).log()), dim=1).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, torch.zeros(len(p), dtype=torch.int64)).sum(), logits)
    return (gradient[:, 1] / (1 - p)).numpy()


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("label", [0, 2])
def test_the_curves_are_those_of_the_losses_that_train(switches, label):
    beta = switches.get("effective_number_beta", 0.99)
    f_c = class_frequency(checked_class_counts(COUNTS), switches["frequency"], effective_number_beta=beta)
    frequency = class_frequencies(COUNTS, switches["frequency"], effective_number_beta=beta)[label]
    assert frequency == pytest.approx(float(f_c[label]), rel=1e-12)

    drawn = {key: switches[key] for key in ("phase", "keep_z") if key in switches}
    weight = ccar_weight(torch.from_numpy(P), f_c[label], 0.75, **drawn)
    assert omega_weight(P, frequency, 0.75, **drawn) == pytest.approx(weight.numpy(), rel=1e-12)

    gradient = switches.get("gradient", "through")
    reweighting = {"omega": 0.75, "frequency": [float(frequency)] * 2, "gradient": gradient, **drawn}
    psi = psi_of(build_loss("cross_entropy", [1, 1], reduction="none", reweighting=reweighting))
    assert gradient_factor(P, frequency, 0.75, gradient=gradient, **drawn) == pytest.approx(psi, rel=1e-9)


def test_the_weight_is_drawn_for_many_classes_at_once():
    frequencies = class_frequencies(COUNTS, "fraction")
    surface = omega_weight(P[:, None], frequencies, 0.75)
    assert surface.shape == (len(P), len(COUNTS))
    for column, frequency in zip(surface.T, frequencies, strict=True):
        np.testing.assert_array_equal(column, omega_weight(P, float(frequency), 0.75))


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_the_focal_curve_is_that_of_the_focal_loss(gamma):
    psi = psi_of(build_loss("focal", [1, 1], reduction="none", gamma=gamma))
    assert focal_gradient_factor(P, gamma) == pytest.approx(psi, rel=1e-9)


def test_golden_values_of_the_paper_s_largest_and_smallest_class():
    p = np.array([0.01, 0.5, 0.9])
    head, tail = 500 / 10847, 5 / 10847  # CIFAR-100-LT at imbalance factor 100
    assert omega_weight(p, head, 0.75) == pytest.approx([2.06957592, 1.27854694, 0.91835643], rel=1e-8)
    assert gradient_factor(p, head, 0.75) == pytest.approx([2.16325336, 1.71407898, 0.96780179], rel=1e-8)
    assert gradient_factor(p, tail, 0.75) == pytest.approx([2.19216541, 1.72888594, 0.96932246], rel=1e-8)


def test_curves_are_finite_from_end_to_end():
    p = np.linspace(1e-4, 1.0, 50)
    for curve in (omega_weight(p, 0.0, 1.0), gradient_factor(p, 0.0, 1.0), focal_gradient_factor(p, 1.0)):
        assert np.isfinite(curve).all()
