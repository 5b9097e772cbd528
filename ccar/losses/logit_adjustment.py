"""Logit adjustment: a tail class must win by a wider margin."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ccar.losses.base import at_least_float32
from ccar.losses.checks import check_number
from ccar.losses.class_prior import checked_class_counts, log_prior
from ccar.losses.focal import checked_gamma, focal_modulator
from ccar.losses.phi import Weight
from ccar.losses.softmax_loss import SoftmaxLoss
from ccar.losses.true_class import TrueClass


class LogitAdjustment(SoftmaxLoss):
    """-log q_t, with q = softmax(z + tau * log prior). Predict with the unadjusted z.

    Args:
        class_counts: K images per class.
        tau: strength, no unit, >= 0. 0 is cross-entropy, 1 is balanced softmax.

    Source: Menon et al., ICLR 2021, arXiv:2007.07314.

    Example:
        >>> import torch
        >>> LogitAdjustment([99, 1])(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor([0.0101, 4.6052])
    """

    def __init__(self, class_counts: Sequence[int] | Tensor, *, tau: float = 1.0) -> None:
        super().__init__(class_counts)
        self.offset: Tensor
        self.register_buffer("offset", checked_tau(tau) * log_prior(self.class_counts), persistent=False)

    def adjust(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits + self.offset.to(logits.dtype)


class FocalLogitAdjustment(LogitAdjustment):
    """(1 - q_t)^gamma * (-log q_t), with q = softmax(z + tau * log prior).

    Args:
        class_counts: K images per class.
        gamma: as in `Focal`.
        tau: as in `LogitAdjustment`.

    Source: the "Focal + LA" row of the CCAR paper, which gives no formula; this is the natural reading.

    Example:
        >>> import torch
        >>> FocalLogitAdjustment([99, 1])(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor([1.0050e-04, 4.5591e+00])
    """

    def __init__(self, class_counts: Sequence[int] | Tensor, *, gamma: float = 1.0, tau: float = 1.0) -> None:
        super().__init__(class_counts, tau=tau)
        self.gamma = checked_gamma(gamma)

    def modulator(self, true: TrueClass) -> Weight:
        return focal_modulator(true, self.gamma)


def checked_tau(tau: object) -> float:
    """Logit adjustment's tau as a float, or ValueError."""
    return check_number("tau", tau, "at least 0", lambda t: t >= 0)


def post_hoc_logit_adjustment(logits: Tensor, class_counts: Sequence[int] | Tensor, tau: float = 1.0) -> Tensor:
    """z - tau * log prior: corrects the predictions of a network trained with plain cross-entropy.

    The sibling of `LogitAdjustment`, which adds the same offset during training instead; use one of the two.

    Args:
        logits: (N, K) float.
        class_counts: K images per class.
        tau: strength, no unit, >= 0; 1, or tuned on validation data.

    Returns:
        (N, K), float32 at least; predict its argmax.

    Raises:
        ValueError: a tau below 0, or class counts that do not fit the logits.

    Example:
        >>> import torch
        >>> post_hoc_logit_adjustment(torch.zeros(1, 2), [99, 1])
        tensor([[0.0101, 4.6052]])
    """
    offset = checked_tau(tau) * log_prior(checked_class_counts(class_counts))
    if logits.ndim != 2 or logits.shape[1] != len(offset):
        raise ValueError(f"logits must be (N, {len(offset)}), one column per class, not {tuple(logits.shape)}")
    logits = at_least_float32(logits)
    return logits - offset.to(logits)
