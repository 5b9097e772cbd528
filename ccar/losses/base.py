"""The three things that one base loss does differently from another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ccar.losses.checks import check_batch
from ccar.losses.class_prior import checked_class_counts
from ccar.losses.phi import Phi, Weight
from ccar.losses.true_class import TrueClass, apply_to_true_class


class BaseLoss(nn.Module):
    """w_y * modulator(p_t) * (-ln p_t), with p the softmax of the adjusted logits: one loss per image.

    This class itself is cross-entropy. A new loss is a subclass that overrides one or two of `adjust`,
    `modulator` and `image_weights`, and a line in `LOSSES`. Its options are keyword-only and checked once, in
    `__init__`.

    What is derived from the class counts is kept in float64 buffers and rounded to the logits' type in each
    step; a device without float64 takes them after `loss.float()`. The buffers are not part of the
    state_dict: they follow from the class counts.

    Args:
        class_counts: K images per class, each at least 1.

    Raises:
        ValueError: counts or options that cannot be.
    """

    scale: float = 1.0
    """Factor on the adjusted logits."""

    mean_by_weight: bool = False
    """Whether the mean over a batch divides by the sum of `image_weights`, as torch's own weighted
    cross-entropy does, and not by the number of images."""

    takes_two_labels: bool = True
    """Whether an image with two labels (mixup, CutMix) costs the weighted mean of the losses of both, which for
    cross-entropy is the loss of the mixed label. Not where the loss has a margin for the one true class."""

    def __init__(self, class_counts: Sequence[int] | Tensor) -> None:
        super().__init__()
        self.class_counts: Tensor
        self.register_buffer("class_counts", checked_class_counts(class_counts), persistent=False)
        self.num_classes = len(self.class_counts)

    def adjust(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, K) logits whose softmax is trained, in memory of their own or unchanged.

        May add constants only: it runs without autograd, and the gradient goes to the logits as it is.
        """
        return logits

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

    def set_epoch(self, epoch: int, num_epochs: int) -> None:
        """Hear that 0-based `epoch` of `num_epochs` begins; most losses do not care."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N,) losses in nats. logits: (N, K) of any float type; labels: (N,) int64 in [0, K)."""
        check_batch(logits, labels, self.num_classes)
        return apply_to_true_class(
            lambda true: weighted(self.weight(true, labels), true),
            at_least_float32(logits),
            labels,
            adjust=self.adjust,
            scale=self.scale,
        )

    def weight(self, true: TrueClass, labels: Tensor) -> Weight | None:
        """Modulator times class weight, or None where there is neither."""
        modulator, constants = self.modulator(true), self.image_weights(labels)
        if constants is None:
            return modulator
        constants = constants.to(true.cross_entropy.dtype)
        return Weight(constants, torch.zeros_like(constants)) if modulator is None else modulator * constants


def weighted(weight: Weight | None, true: TrueClass) -> Phi:
    """The cross-entropy of each image, times its weight if there is one."""
    if weight is None:
        return Phi(true.cross_entropy, torch.ones_like(true.cross_entropy))
    return weight.times(true.cross_entropy)


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits in a type that a softmax can be computed in; the gradient goes back in the type they came in."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
