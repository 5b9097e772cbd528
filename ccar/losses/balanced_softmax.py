"""Balanced softmax: logit adjustment with tau = 1, under the name it is published by."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ccar.losses.logit_adjustment import FocalLogitAdjustment, LogitAdjustment


class BalancedSoftmax(LogitAdjustment):
    """-log q_t, with q_c proportional to n_c * exp(z_c). Predict with the unadjusted z.

    Identical to `LogitAdjustment` with tau = 1: n_c and n_c / N give the same softmax.

    Source: Ren et al., NeurIPS 2020, arXiv:2007.10740.

    Example:
        >>> import torch
        >>> BalancedSoftmax([99, 1])(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor([0.0101, 4.6052])
    """

    def __init__(self, class_counts: Sequence[int] | Tensor) -> None:
        super().__init__(class_counts, tau=1.0)


class FocalBalancedSoftmax(FocalLogitAdjustment):
    """(1 - q_t)^gamma * (-log q_t), with q_c proportional to n_c * exp(z_c).

    Args:
        class_counts: K images per class.
        gamma: as in `Focal`.

    Source: the "Focal + BS" row of the CCAR paper, which gives no formula; this is the natural reading.

    Example:
        >>> import torch
        >>> FocalBalancedSoftmax([99, 1], gamma=2.0)(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor([1.0050e-06, 4.5135e+00])
    """

    def __init__(self, class_counts: Sequence[int] | Tensor, *, gamma: float = 1.0) -> None:
        super().__init__(class_counts, gamma=gamma, tau=1.0)
