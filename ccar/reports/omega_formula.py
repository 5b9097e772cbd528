"""Omega and the gradient factor Psi as numpy curves, to be drawn: what `ccar.losses` computes while it trains.

With p_t the probability of the true class, gamma = e - f' and f' the class frequency of the phase:
Omega = gamma^(omega - p_t), and the gradient of Omega * (-ln p_t) on the logits is Psi (p - e_t).
In numpy, because who draws a report should not wait for torch; a test holds the curves to the losses.
Source: CCAR, arXiv:2601.15924, equations 10 to 12 and Lemma 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]


def class_frequencies(class_counts: Sequence[int], source: str, *, effective_number_beta: float = 0.99) -> Curve:
    """f_c of every class, (K,), in [0, 1].

    Raises:
        KeyError: the source is none of fraction, max_normalised, effective_number, uniform, none.
    """
    counts = np.asarray(class_counts, dtype=np.float64)
    with np.errstate(divide="ignore"):  # ln 0 for beta = 0: every effective number is 1
        effective = -np.expm1(counts * np.log(effective_number_beta))
    sources: dict[str, Curve] = {
        "fraction": counts / counts.sum(),
        "max_normalised": counts / counts.max(),
        "effective_number": effective / effective.max(),
        "uniform": np.full_like(counts, 1 / len(counts)),
        "none": np.zeros_like(counts),
    }
    return sources[source]


def omega_weight(
    p_t: Curve, frequency: float | Curve, omega: float, *, phase: str = "dual", keep_z: bool = False
) -> Curve:
    """Omega at confidences `p_t` in (0, 1] for classes of these frequencies; the two broadcast."""
    beta = _beta(p_t, frequency, omega, phase)
    weight = np.exp(beta * (omega - p_t))
    return weight / (np.exp(beta * omega) * -np.expm1(-beta) / beta) if keep_z else weight


def gradient_factor(
    p_t: Curve,
    frequency: float,
    omega: float,
    *,
    phase: str = "dual",
    keep_z: bool = False,
    gradient: str = "through",
) -> Curve:
    """Psi of re-weighted cross-entropy for a class of this frequency; 1 would be plain cross-entropy."""
    weight = omega_weight(p_t, frequency, omega, phase=phase, keep_z=keep_z)
    if gradient == "detached":
        return weight
    return weight * (1 - p_t * _beta(p_t, frequency, omega, phase) * np.log(p_t))


def focal_gradient_factor(p_t: Curve, gamma: float) -> Curve:
    """Psi of the focal loss (1 - p_t)^gamma (-ln p_t), for gamma >= 1 and p_t in (0, 1]."""
    return (1 - p_t) ** gamma - gamma * p_t * (1 - p_t) ** (gamma - 1) * np.log(p_t)


def without_jump(p_t: Curve, curve: Curve, omega: float) -> Curve:
    """A gap at the pivot, so that the jump is not drawn as a slope. At 1 there is nothing beyond to jump to."""
    first_beyond = np.arange(len(p_t)) == int(np.searchsorted(p_t, omega))
    shown: Curve = np.where(first_beyond & (omega < 1), np.nan, curve)
    return shown


def _beta(p_t: Curve, frequency: float | Curve, omega: float, phase: str) -> Curve:
    """ln(e - f') of the phase that holds at `p_t`: below the pivot the one, from it on the other."""
    standard, inverted = np.log(np.e - frequency), np.log(np.e - (1 - np.asarray(frequency)))
    phases: dict[str, tuple[Curve | float, Curve | float]] = {
        "dual": (standard, inverted),
        "standard_only": (standard, standard),
        "inverted_only": (inverted, inverted),
        "constant": (1.0, 1.0),
    }
    below, above = phases[phase]
    beta: Curve = np.where(p_t < omega, below, above)
    return beta
