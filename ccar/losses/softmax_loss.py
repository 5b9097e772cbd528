"""The three things that one loss on the softmax does differently from another."""

from __future__ import annotations

import torch
from torch import Tensor

from ccar.losses.base import BaseLoss, at_least_float32
from ccar.losses.checks import check_batch
from ccar.losses.phi import Phi, Weight
from ccar.losses.true_class import TrueClass, apply_to_true_class


class SoftmaxLoss(BaseLoss):
    """w_y * modulator(p_t) * (-ln p_t), with p the softmax of the adjusted logits: one loss per image.

    This class itself is cross-entropy. A new loss is a subclass that overrides one or two of `adjust`,
    `modulator` and `image_weights`, and a line in `LOSSES`.
    """

    mean_by_weight: bool = False
    """Whether the mean over a batch divides by the sum of `image_weights`, as torch's own weighted
    cross-entropy does, and not by the number of images."""

    def adjust(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, K) logits whose softmax is trained, in memory of their own or unchanged.

        Runs without autograd: the gradient by the adjusted logits goes to the logits as it is. Only the true
        class may be moved by more than a constant, with `true_slope` to say so.
        """
        return logits

    def true_slope(self, labels: Tensor) -> Tensor | None:
        """(N,) float64 derivative of the adjusted by the given logit of the true class, or None where it is 1."""
        return None

    def modulator(self, true: TrueClass) -> Weight | None:
        """(N,) factor that depends on the confidence in the true class, or None for no such factor."""
        return None

    def image_weights(self, labels: Tensor) -> Tensor | None:
        """(N,) float64 weight w_y of each image, or None for no weights."""
        return None

    def mean_weights(self, labels: Tensor, dtype: torch.dtype) -> Tensor | None:
        """(N,) weights whose sum a batch mean divides by, or None to divide by the number of images."""
        weights = self.image_weights(labels) if self.mean_by_weight else None
        return None if weights is None else weights.to(dtype)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N,) losses in nats. logits: (N, K) of any float type; labels: (N,) int64 in [0, K)."""
        check_batch(logits, labels, self.num_classes)
        return apply_to_true_class(
            lambda true: weighted(self.weight(true, labels), true),
            at_least_float32(logits),
            labels,
            adjust=self.adjust,
            true_slope=self.true_slope(labels),
            scale=self.scale,
        )

    def weight(self, true: TrueClass, labels: Tensor) -> Weight | None:
        """Modulator times class weight, or None where there is neither."""
        modulator, constants = self.modulator(true), self.image_weights(labels)
        if constants is None:
            return modulator
        constants = constants.to(true.cross_entropy.dtype)
        return Weight(constants, torch.zeros_like(constants)) if modulator is None else modulator.scaled(constants)


def weighted(weight: Weight | None, true: TrueClass) -> Phi:
    """The cross-entropy of each image, times its weight if there is one."""
    if weight is None:
        return Phi(true.cross_entropy, torch.ones_like(true.cross_entropy))
    return weight.times(true.cross_entropy)
