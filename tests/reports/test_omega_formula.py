from __future__ import annotations

import numpy as np
import pytest

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


def lemma_1(p, gamma, omega):
    """Psi as the paper derives it (equation 25)."""
    return gamma ** (omega - p) * (1 - p * np.log(gamma) * np.log(p))


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("label", [0, 2])
def test_curves_are_those_that_the_paper_derives(switches, label):
    beta = switches.get("effective_number_beta", 0.99)
    counts = np.array(COUNTS, dtype=np.float64)
    effective = 1 - beta**counts
    f = {
        "fraction": counts / counts.sum(),
        "max_normalised": counts / counts.max(),
        "effective_number": effective / effective.max(),
        "uniform": np.full(3, 1 / 3),
        "none": np.zeros(3),
    }[switches["frequency"]][label]
    frequency = class_frequencies(COUNTS, switches["frequency"], effective_number_beta=beta)[label]
    assert frequency == pytest.approx(f)
    below, above = {
        "dual": (f, 1 - f),
        "standard_only": (f, f),
        "inverted_only": (1 - f, 1 - f),
        "constant": (0.0, 0.0),
    }[switches.get("phase", "dual")]
    gamma = np.e - np.where(P < 0.75, below, above)
    z = gamma**0.75 * (1 - 1 / gamma) / np.log(gamma) if switches.get("keep_z") else 1.0
    drawn = {key: switches[key] for key in ("phase", "keep_z") if key in switches}
    weight = gamma ** (0.75 - P) / z
    assert omega_weight(P, frequency, 0.75, **drawn) == pytest.approx(weight, rel=1e-12)
    psi = weight if switches.get("gradient") == "detached" else lemma_1(P, gamma, 0.75) / z
    drawn_psi = gradient_factor(P, frequency, 0.75, gradient=switches.get("gradient", "through"), **drawn)
    assert drawn_psi == pytest.approx(psi, rel=1e-9)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_the_focal_curve_is_that_of_the_focal_loss(gamma):
    # d/dp of (1 - p)^gamma (-ln p), times -p.
    expected = (1 - P) ** gamma - gamma * P * (1 - P) ** (gamma - 1) * np.log(P)
    assert focal_gradient_factor(P, gamma) == pytest.approx(expected, rel=1e-9)


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
    assert gradient_factor(p, 0.0, 0.75)[-1] == pytest.approx((np.e - 1) ** -0.25, rel=1e-6)
    assert focal_gradient_factor(p, 2.0)[-1] == pytest.approx(0.0, abs=1e-6)


def test_a_surface_is_the_curves_of_its_classes():
    p, f = np.linspace(0.1, 0.9, 5), np.array([0.0, 0.3, 1.0])
    surface = omega_weight(p[:, None], f[None, :], 0.5)
    for column, frequency in enumerate(f):
        assert surface[:, column] == pytest.approx(omega_weight(p, float(frequency), 0.5))
