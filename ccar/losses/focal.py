"""Focal loss: images that are already right count less."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ccar.losses.base import BaseLoss
from ccar.losses.checks import check_number
from ccar.losses.phi import Phi


class Focal(BaseLoss):
    """(1 - p_t)^gamma * (-log p_t), the softmax form.

    Args:
        class_counts: K images per class.
        gamma: strength, no unit, >= 0. 0 is cross-entropy; 0.5, 1 and 2 are usual.

    Source: Lin et al., ICCV 2017, arXiv:1708.02002 (there with K sigmoids); softmax form as in LDAM's code.

    Example:
        >>> Focal([9, 1], gamma=1.0)(torch.zeros(1, 2), torch.tensor([1]))
        tensor([0.3466])
    """

    def __init__(self, class_counts: Sequence[int] | Tensor, *, gamma: float = 1.0) -> None:
        super().__init__(class_counts)
        self.gamma = checked_gamma(gamma)

    def phi(self, log_p: Tensor) -> Phi:
        return super().phi(log_p) * focal_modulator(log_p, self.gamma)


def checked_gamma(gamma: object) -> float:
    """Focal's gamma as a float, or ValueError."""
    return check_number("gamma", gamma, "at least 0", lambda g: g >= 0)


def focal_modulator(log_p: Tensor, gamma: float) -> Phi:
    """(1 - p_t)^gamma, with Psi = gamma p_t (1 - p_t)^(gamma - 1)."""
    # With gamma < 1, Psi grows without bound as p_t -> 1, where the loss it will be multiplied by is 0.
    rest = (-torch.expm1(log_p)).clamp_(min=torch.finfo(log_p.dtype).tiny)
    return Phi(rest.pow(gamma), gamma * log_p.exp() * rest.pow(gamma - 1))
