"""GALA: logit adjustment by how much each class has been pulled so far, in place of how many images it has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ccar.losses.checks import check_number
from ccar.losses.phi import Weight
from ccar.losses.softmax_loss import SoftmaxLoss
from ccar.losses.true_class import TrueClass

_EPSILON = 1e-3  # of the authors' code: a class without a gradient so far


class GALA(SoftmaxLoss):
    """-log q_t, with q = softmax(z + strength * ln(theta + 0.001)). Predict with the unadjusted z.

    theta_c is the sum, over all images of class c in all training batches so far, of |dL/dz_c| = 1 - q_c, the
    gradient of this loss by the logit of the true class, for one image and without Omega. A batch is adjusted by
    the theta before it. In evaluation mode theta stays as it is; it is part of the state_dict.

    The published loss also takes ln(phi_y + 0.001) off every logit of an image of class y, with phi the sums of
    the gradients by the other logits. That is one number per image, which the softmax does not see: left out.

    Args:
        class_counts: K images per class; only their number is used.
        strength: of the adjustment, no unit, >= 0. 0 is cross-entropy.

    Source: Zhang et al., ICASSP 2024, arXiv:2403.09036 (its lambda_1 is `strength`). Its second part, a
    re-balancing of predictions, needs the predictions of the whole test set and is left out on purpose.

    Example:
        >>> loss = GALA([9, 1])
        >>> loss(torch.zeros(2, 2), torch.tensor([0, 0]))
        tensor([0.6931, 0.6931])
        >>> loss(torch.zeros(2, 2), torch.tensor([0, 1]))  # by now class 0 has theta = 1
        tensor([9.9850e-04, 6.9098e+00])
    """

    takes_two_labels = False  # theta counts an image once, for its class

    def __init__(self, class_counts: Sequence[int] | Tensor, *, strength: float = 1.0) -> None:
        super().__init__(class_counts)
        self.strength = check_number("strength", strength, "at least 0", lambda s: s >= 0)
        self.theta: Tensor
        self.register_buffer("theta", torch.zeros_like(self.class_counts))

    def adjust(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits + (self.strength * (self.theta + _EPSILON).log()).to(logits.dtype)

    def weight(self, true: TrueClass, labels: Tensor) -> Weight | None:
        if self.training:
            self.theta.index_add_(0, labels, true.rest.to(self.theta.dtype))
        return super().weight(true, labels)
