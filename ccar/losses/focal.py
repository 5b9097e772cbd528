"""Focal loss: images that are already right count less."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ccar.losses.checks import check_number
from ccar.losses.phi import Weight
from ccar.losses.softmax_loss import SoftmaxLoss
from ccar.losses.true_class import TrueClass


class Focal(SoftmaxLoss):
    """(1 - p_t)^gamma * (-log p_t), the softmax form.

    Args:
        class_counts: K images per class.
        gamma: strength, no unit, >= 0. 0 is cross-entropy; 0.5, 1 and 2 are usual.

    Source: Lin et al., ICCV 2017, arXiv:1708.02002 (there with K sigmoids); softmax form as in LDAM's code.

    Example:
        >>> import torch
        >>> Focal([9, 1], gamma=1.0)(torch.zeros(1, 2), torch.tensor([1]))
        tensor([0.3466])
    """

    def __init__(self, class_counts: Sequence[int] | Tensor, *, gamma: float = 1.0) -> None:
        super().__init__(class_counts)
        self.gamma = checked_gamma(gamma)

    def modulator(self, true: TrueClass) -> Weight:
        return focal_modulator(true, self.gamma)


def checked_gamma(gamma: object) -> float:
    """Focal's gamma as a float, or ValueError."""
    return check_number("gamma", gamma, "at least 0", lambda g: g >= 0)


def focal_modulator(true: TrueClass, gamma: float) -> Weight:
    """(1 - p_t)^gamma, whose logarithm has the slope gamma p_t / (1 - p_t)."""
    # Where 1 - p_t underflows the slope would be infinite; the cross-entropy that it is multiplied by is 0.
    rest = true.rest.clamp_(min=1e-30)
    return Weight(rest.pow(gamma), gamma * true.p / rest)
