from __future__ import annotations

import numpy as np
import pytest
import torch

from ccar.losses import build_loss, ccar_weight
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


def psi_of_training(base, label, **options):
    """|d loss / d z_t| / (1 - p_t): by automatic differentiation of the loss that training uses."""
    loss = build_loss(base, COUNTS, reduction="none", **options)
    psi = []
    for p in P:
        others = np.log((1 - p) / 2)
        logits = torch.full((1, 3), others, dtype=torch.float64)
        logits[0, label] = np.log(p)
        logits.requires_grad_()
        loss(logits, torch.tensor([label])).sum().backward()
        psi.append(-logits.grad[0, label].item() / (1 - p))
    return psi


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("label", [0, 2])
def test_curves_are_those_of_the_loss_that_is_trained(switches, label):
    beta = switches.get("effective_number_beta", 0.99)
    frequency = class_frequencies(COUNTS, switches["frequency"], effective_number_beta=beta)[label]
    drawn = {key: switches[key] for key in ("phase", "keep_z") if key in switches}
    weight = omega_weight(P, frequency, 0.75, **drawn)
    expected = ccar_weight(torch.tensor(P), float(frequency), 0.75, **drawn)
    assert weight == pytest.approx(expected.numpy(), rel=1e-6)
    psi = gradient_factor(P, frequency, 0.75, gradient=switches.get("gradient", "through"), **drawn)
    trained = psi_of_training("cross_entropy", label, reweighting={"omega": 0.75, **switches})
    assert psi == pytest.approx(trained, rel=1e-5)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_the_focal_curve_is_that_of_the_focal_loss(gamma):
    assert focal_gradient_factor(P, gamma) == pytest.approx(psi_of_training("focal", 0, gamma=gamma), rel=1e-5)


def test_golden_values_of_the_paper_s_largest_class():
    weight = omega_weight(np.array([0.01, 0.5, 0.9]), 500 / 10847, 0.75)
    assert weight == pytest.approx([2.06957592, 1.27854694, 0.91835643], rel=1e-8)
