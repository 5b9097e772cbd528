"""What every base loss states of itself: to Omega, to the reduction, and to those who build a network for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ccar.losses.class_prior import checked_class_counts


class BaseLoss(nn.Module):
    """One loss per image; what `build_loss` weighs by Omega and reduces over the batch.

    `SoftmaxLoss` is the usual kind; a subclass of this class has a `forward` of its own. The options of a loss
    are keyword-only and checked once, in `__init__`.

    What is derived from the class counts is kept in float64 buffers and rounded to the logits' type in each
    step; a device without float64 takes them after `loss.float()`. These buffers are not part of the
    state_dict: they follow from the class counts.

    Args:
        class_counts: K images per class, each at least 1.

    Raises:
        ValueError: counts or options that cannot be.
    """

    scale: float = 1.0
    """Factor on the logits before any softmax is taken of them; other than 1 for cosines of a normed classifier."""

    takes_two_labels: bool = True
    """Whether an image with two labels (mixup, CutMix) costs the weighted mean of the losses of both, which for
    cross-entropy is the loss of the mixed label. Not where a margin or a running sum is for the one true class."""

    def __init__(self, class_counts: Sequence[int] | Tensor) -> None:
        super().__init__()
        self.class_counts: Tensor
        self.register_buffer("class_counts", checked_class_counts(class_counts), persistent=False)
        self.num_classes = len(self.class_counts)

    @property
    def initial_bias(self) -> float | None:
        """What the classifier's biases start from, then kept free of weight decay; None: biases like any other."""
        return None

    def mean_weights(self, labels: Tensor, dtype: torch.dtype) -> Tensor | None:
        """(N,) weights whose sum a batch mean divides by, or None to divide by the number of images."""
        return None

    def set_epoch(self, epoch: int, num_epochs: int) -> None:
        """Hear that 0-based `epoch` of `num_epochs` begins; most losses do not care."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N,) losses in nats. logits: (N, K) of any float type; labels: (N,) int64 in [0, K)."""
        raise NotImplementedError


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits in a type that a softmax can be computed in; the gradient goes back in the type they came in."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
