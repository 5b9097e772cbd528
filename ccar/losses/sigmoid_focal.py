"""Focal loss as it was published: K yes-or-no questions per image in place of one softmax."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from ccar.losses.base import BaseLoss, at_least_float32
from ccar.losses.checks import check_batch, check_first_derivative
from ccar.losses.class_balanced import checked_beta, class_balanced_weights
from ccar.losses.focal import checked_gamma
from ccar.losses.true_class import LOG2_E, scaled_rows, with_true_column


class SigmoidFocal(BaseLoss):
    """sum_c (1 - s_c)^gamma * (-log s_c), with s_y = sigmoid(z_y) and s_c = sigmoid(-z_c) for the other classes.

    s_c is the probability of the right answer to "is it class c?". The biases of the classifier should start
    from `initial_bias`, where every class has the probability 1 / K: with s = 1/2, the K - 1 negatives of each
    image would drown its positive in the first steps.

    Args:
        class_counts: K images per class.
        gamma: strength, no unit, >= 0. 0 is the sum of K binary cross-entropies.

    Source: Lin et al., ICCV 2017, arXiv:1708.02002; over classes and without its alpha as in the code of Cui et
    al., CVPR 2019, arXiv:1901.05555.

    Example:
        >>> SigmoidFocal([8, 1, 1], gamma=1.0)(torch.zeros(1, 3), torch.tensor([1]))
        tensor([1.0397])
    """

    def __init__(self, class_counts: Sequence[int] | Tensor, *, gamma: float = 1.0) -> None:
        super().__init__(class_counts)
        self.gamma = checked_gamma(gamma)

    @property
    def initial_bias(self) -> float:
        """-ln(K - 1), where sigmoid gives 1 / K; 0 for a single class."""
        return -log(max(self.num_classes - 1, 1))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N,) losses in nats. logits: (N, K) of any float type; labels: (N,) int64 in [0, K)."""
        check_batch(logits, labels, self.num_classes)
        losses: Tensor = _SumOfBinaryFocal.apply(at_least_float32(logits), labels, self.gamma)
        return losses


class ClassBalancedSigmoidFocal(SigmoidFocal):
    """w_y * sum_c (1 - s_c)^gamma * (-log s_c): sigmoid focal loss with class-balanced weights.

    The mean over a batch divides by the number of images, as the authors' code does.

    Args:
        class_counts: K images per class.
        beta: as in `ClassBalanced`.
        gamma: as in `SigmoidFocal`.

    Source: Cui et al., CVPR 2019, arXiv:1901.05555.

    Example:
        >>> ClassBalancedSigmoidFocal([8, 1, 1], beta=0.9)(torch.zeros(1, 3), torch.tensor([1]))
        tensor([1.4337])
    """

    def __init__(self, class_counts: Sequence[int] | Tensor, *, beta: float = 0.9999, gamma: float = 1.0) -> None:
        super().__init__(class_counts, gamma=gamma)
        self.class_weights: Tensor
        weights = class_balanced_weights(self.class_counts, checked_beta("beta", beta))
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N,) losses in nats. logits: (N, K) of any float type; labels: (N,) int64 in [0, K)."""
        losses = super().forward(logits, labels)
        return losses * self.class_weights.index_select(0, labels).to(losses.dtype)


class _SumOfBinaryFocal(torch.autograd.Function):
    """With u = z, and -z in the true column: sum of sigmoid(u)^gamma * softplus(u), whose slope by u is

    sigmoid(u)^gamma * (sigmoid(u) + gamma * sigmoid(-u) * softplus(u)).
    """

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
        true = labels.unsqueeze(1)
        # Far from the largest float, sums over classes and images stay finite too.
        limit = torch.finfo(logits.dtype).max * 1e-8
        u = logits.clamp(-limit, limit)
        u = with_true_column(u, true, -u.gather(1, true))
        # softplus(u) and -softplus(-u), each with all its digits, from one exponential of -|u|
        log1p = (u.abs() * -LOG2_E).exp2_().log1p_()
        cross_entropy = u.clamp(min=0).add_(log1p)
        log_wrong = u.clamp(max=0).sub_(log1p)
        modulator = log_wrong.mul_(gamma * LOG2_E).exp2_()
        losses = modulator * cross_entropy
        wrong = u.sigmoid_()
        slopes = (1 - wrong).mul_(cross_entropy).mul_(gamma).add_(wrong).mul_(modulator)
        slopes = with_true_column(slopes, true, -slopes.gather(1, true))
        ctx.save_for_backward(slopes)
        return losses.sum(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401  as in torch
        check_first_derivative()
        (grad,) = grads
        (slopes,) = ctx.saved_tensors
        return scaled_rows(slopes, grad.unsqueeze(1)), None, None
