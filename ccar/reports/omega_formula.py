"""Omega and the gradient factor Psi as numpy curves, to be drawn: computed by `ccar.losses` itself.

Psi is what a loss makes of the gradient of plain cross-entropy, which is p - e_t on the logits: its factor. It is read
off the backward pass of the loss that training uses.
Source: CCAR, arXiv:2601.15924, equations 10 to 12 and Lemma 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from ccar.losses import Loss, build_loss, ccar_weight
from ccar.losses.class_prior import FrequencySource, checked_class_counts, class_frequency
from ccar.losses.reweighting import Phase

Curve = NDArray[np.float64]

_SMALLEST_REST = 1e-9  # of 1 - p_t: at p_t = 1 cross-entropy has no gradient whose factor could be told


def class_frequencies(class_counts: Sequence[int], source: str, *, effective_number_beta: float = 0.99) -> Curve:
    """f_c of every class, (K,), in [0, 1].

    Raises:
        ValueError: the source is none of those of `ccar.losses.class_prior`.
    """
    counts = checked_class_counts(class_counts)
    return _curve(class_frequency(counts, cast(FrequencySource, source), effective_number_beta=effective_number_beta))


def omega_weight(
    p_t: Curve, frequency: float | Curve, omega: float, *, phase: str = "dual", keep_z: bool = False
) -> Curve:
    """Omega at confidences `p_t` in (0, 1] for classes of these frequencies; the two broadcast."""
    f_c = torch.as_tensor(frequency, dtype=torch.float64)
    return _curve(ccar_weight(torch.from_numpy(p_t), f_c, omega, phase=cast(Phase, phase), keep_z=keep_z))


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
    reweighting: dict[str, Any] = {
        "omega": omega,
        "frequency": [frequency] * 2,
        "phase": phase,
        "keep_z": keep_z,
        "gradient": gradient,
    }
    return _psi(build_loss("cross_entropy", [1, 1], reduction="none", reweighting=reweighting), p_t)


def focal_gradient_factor(p_t: Curve, gamma: float) -> Curve:
    """Psi of the focal loss (1 - p_t)^gamma (-ln p_t), for p_t in (0, 1]."""
    return _psi(build_loss("focal", [1, 1], reduction="none", gamma=gamma), p_t)


def _psi(loss: Loss, p_t: Curve) -> Curve:
    """From the gradient on the logit of the other one of two classes, which is Psi (1 - p_t)."""
    p = torch.from_numpy(p_t)
    rest = (1 - p).clamp(min=_SMALLEST_REST)
    logits = torch.stack((p.log(), rest.log()), dim=1).requires_grad_()
    (grad,) = torch.autograd.grad(loss(logits, torch.zeros(len(p), dtype=torch.int64)).sum(), logits)
    return _curve(grad[:, 1] / rest)


def _curve(values: torch.Tensor) -> Curve:
    return cast(Curve, values.numpy())
