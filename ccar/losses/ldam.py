"""LDAM: wider margins for rarer classes, and class weights for the last part of training (DRW)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ccar.losses.checks import check_number
from ccar.losses.class_balanced import checked_beta, class_balanced_weights
from ccar.losses.softmax_loss import SoftmaxLoss
from ccar.losses.true_class import with_true_column


class LDAM(SoftmaxLoss):
    """-log q_t, with q = softmax(scale * (z - m_y e_y)) and z the cosines of a normed classifier.

    Deferred re-weighting (DRW): from the epoch where `epoch / num_epochs >= drw_start`, image i also has the
    class-balanced weight of its class, and the mean over a batch divides by the sum of these weights. Until
    `set_epoch` has said so, there are none.

    Args:
        class_counts: K images per class.
        max_margin: margin of the rarest class, in units of the logits (cosines), > 0.
        scale: factor on the cosines, no unit, > 0.
        drw_start: share of the epochs before re-weighting starts, in [0, 1]. 0: always on, 1: never.
        drw_beta: beta of the class-balanced weights, in [0, 1).

    Source: Cao et al., NeurIPS 2019, arXiv:1906.07413; defaults of kaidic/LDAM-DRW (epoch 160 of 200).

    Example:
        >>> import torch
        >>> LDAM([16, 1])(torch.tensor([[0.5, 0.5], [0.5, 0.5]]), torch.tensor([0, 1]))
        tensor([ 7.5006, 15.0000])
    """

    mean_by_weight = True
    takes_two_labels = False

    def __init__(
        self,
        class_counts: Sequence[int] | Tensor,
        *,
        max_margin: float = 0.5,
        scale: float = 30.0,
        drw_start: float = 0.8,
        drw_beta: float = 0.9999,
    ) -> None:
        super().__init__(class_counts)
        max_margin = check_number("max_margin", max_margin, "above 0", lambda m: m > 0)
        self.scale = check_number("scale", scale, "above 0", lambda s: s > 0)
        self.drw_start = check_number("drw_start", drw_start, "in [0, 1]", lambda start: 0 <= start <= 1)
        self.drw_is_on = self.drw_start == 0
        self.margins: Tensor
        self.register_buffer("margins", ldam_margins(self.class_counts, max_margin), persistent=False)
        self.class_weights: Tensor
        weights = class_balanced_weights(self.class_counts, checked_beta("drw_beta", drw_beta))
        self.register_buffer("class_weights", weights, persistent=False)

    def adjust(self, logits: Tensor, labels: Tensor) -> Tensor:
        true, margins = labels.unsqueeze(1), self.margins.index_select(0, labels).to(logits.dtype)
        return with_true_column(logits.clone(), true, logits.gather(1, true) - margins.unsqueeze(1))

    def image_weights(self, labels: Tensor) -> Tensor | None:
        return self.class_weights.index_select(0, labels) if self.drw_is_on else None

    def set_epoch(self, epoch: int, num_epochs: int) -> None:
        """Switch DRW on or off for 0-based `epoch` of `num_epochs`."""
        self.drw_is_on = epoch / num_epochs >= self.drw_start


def ldam_margins(class_counts: Tensor, max_margin: float) -> Tensor:
    """(K,) margins proportional to n_c^(-1/4), the largest `max_margin`. class_counts: (K,) float64."""
    return max_margin * (class_counts / class_counts.min()) ** -0.25
