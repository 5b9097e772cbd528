"""ALA: the rarer a class and the harder an image, the wider the margin by which it must win."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ccar.losses.checks import check_choice, check_number
from ccar.losses.reweighting import GRADIENTS
from ccar.losses.softmax_loss import SoftmaxLoss
from ccar.losses.true_class import with_true_column


class ALA(SoftmaxLoss):
    """-log q_t, with q = softmax(scale * (z - d qf_y e_y)) and z the cosines of a normed classifier.

    The difficulty d = (1 - z_y) / 2 is in [0, 1], and the quantity factor qf_c = 1 / ln(n_c / min n + 1).

    Args:
        class_counts: K images per class.
        scale: factor on the cosines, no unit, > 0.
        difficulty_gradient: `through` differentiates d too, so the true cosine's own slope is 1 + qf_y / 2;
            `detached` takes d as a constant.

    Source: Zhao et al., AAAI 2022, arXiv:2104.06094. Which of the two gradients its authors take is not verified.

    Example:
        >>> ALA([16, 1])(torch.tensor([[0.5, 0.5], [0.5, 0.5]]), torch.tensor([0, 1]))
        tensor([ 2.7156, 10.8202])
    """

    takes_two_labels = False

    def __init__(
        self,
        class_counts: Sequence[int] | Tensor,
        *,
        scale: float = 30.0,
        difficulty_gradient: Literal["through", "detached"] = "through",
    ) -> None:
        super().__init__(class_counts)
        self.scale = check_number("scale", scale, "above 0", lambda s: s > 0)
        check_choice("difficulty_gradient", difficulty_gradient, GRADIENTS)
        self.difficulty_gradient = difficulty_gradient
        self.quantity_factors: Tensor
        self.register_buffer("quantity_factors", ala_quantity_factors(self.class_counts), persistent=False)

    def adjust(self, logits: Tensor, labels: Tensor) -> Tensor:
        true = labels.unsqueeze(1)
        factors = self.quantity_factors.index_select(0, labels).to(logits.dtype).unsqueeze(1)
        cosines = logits.gather(1, true)
        adjusted = cosines - factors * (1 - cosines) / 2
        # Far out of the range of a cosine, this would be infinite.
        limits = torch.finfo(logits.dtype)
        return with_true_column(logits.clone(), true, adjusted.clamp_(limits.min, limits.max))

    def true_slope(self, labels: Tensor) -> Tensor | None:
        if self.difficulty_gradient == "detached":
            return None
        return 1 + self.quantity_factors.index_select(0, labels) / 2


def ala_quantity_factors(class_counts: Tensor) -> Tensor:
    """(K,) 1 / ln(n_c / min n + 1): 1 / ln 2 for the rarest class, less for others. class_counts: (K,) float64."""
    return 1 / (class_counts / class_counts.min()).log1p()
