"""Cross-entropy."""

from __future__ import annotations

from ccar.losses.softmax_loss import SoftmaxLoss


class CrossEntropy(SoftmaxLoss):
    """-log p_t.

    Example:
        >>> import torch
        >>> CrossEntropy([9, 1])(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor([0.6931, 0.6931])
    """
