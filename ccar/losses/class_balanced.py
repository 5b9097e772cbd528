"""Class-balanced losses: each class weighs the inverse of its effective number of images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ccar.losses.checks import check_number
from ccar.losses.class_prior import effective_number
from ccar.losses.focal import checked_gamma, focal_modulator
from ccar.losses.phi import Weight
from ccar.losses.softmax_loss import SoftmaxLoss
from ccar.losses.true_class import TrueClass


class ClassBalanced(SoftmaxLoss):
    """w_y * (-log p_t), with w_c proportional to (1 - beta) / (1 - beta^n_c) and sum_c w_c = K.

    The mean over a batch divides by the number of images, as the authors' code does.

    Args:
        class_counts: K images per class.
        beta: no unit, in [0, 1). 0 gives every class the weight 1; towards 1 the weight goes to 1 / n_c.

    Source: Cui et al., CVPR 2019, arXiv:1901.05555.

    Example:
        >>> import torch
        >>> ClassBalanced([9, 1], beta=0.9)(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor([0.1945, 1.1917])
    """

    def __init__(self, class_counts: Sequence[int] | Tensor, *, beta: float = 0.9999) -> None:
        super().__init__(class_counts)
        self.class_weights: Tensor
        weights = class_balanced_weights(self.class_counts, checked_beta("beta", beta))
        self.register_buffer("class_weights", weights, persistent=False)

    def image_weights(self, labels: Tensor) -> Tensor:
        return self.class_weights.index_select(0, labels)


class ClassBalancedFocal(ClassBalanced):
    """w_y * (1 - p_t)^gamma * (-log p_t): focal loss with class-balanced weights.

    Args:
        class_counts: K images per class.
        beta: as in `ClassBalanced`.
        gamma: as in `Focal`.

    Source: Cui et al., CVPR 2019, arXiv:1901.05555.

    Example:
        >>> import torch
        >>> ClassBalancedFocal([9, 1], beta=0.9, gamma=1.0)(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor([0.0973, 0.5959])
    """

    def __init__(self, class_counts: Sequence[int] | Tensor, *, beta: float = 0.9999, gamma: float = 1.0) -> None:
        super().__init__(class_counts, beta=beta)
        self.gamma = checked_gamma(gamma)

    def modulator(self, true: TrueClass) -> Weight:
        return focal_modulator(true, self.gamma)


def checked_beta(name: str, beta: object) -> float:
    """The beta of an effective number as a float, or ValueError."""
    return check_number(name, beta, "at least 0 and below 1", lambda b: 0 <= b < 1)


def class_balanced_weights(class_counts: Tensor, beta: float) -> Tensor:
    """(K,) one over the effective number of each class, scaled to the sum K. class_counts: (K,) float64."""
    inverse = 1 / effective_number(class_counts, beta)
    return inverse * (len(inverse) / inverse.sum())
