"""`build_loss`: any base loss, with or without CCAR's weight, reduced to one number per batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ccar.losses.ala import ALA
from ccar.losses.balanced_softmax import BalancedSoftmax, FocalBalancedSoftmax
from ccar.losses.base import BaseLoss, at_least_float32
from ccar.losses.checks import check_batch, check_choice, check_options
from ccar.losses.class_balanced import ClassBalanced, ClassBalancedFocal
from ccar.losses.class_prior import checked_class_counts
from ccar.losses.cross_entropy import CrossEntropy
from ccar.losses.focal import Focal
from ccar.losses.gala import GALA
from ccar.losses.ldam import LDAM
from ccar.losses.logit_adjustment import FocalLogitAdjustment, LogitAdjustment
from ccar.losses.phi import Phi
from ccar.losses.reduction import Reduction
from ccar.losses.reweighting import Reweighting
from ccar.losses.sigmoid_focal import ClassBalancedSigmoidFocal, SigmoidFocal
from ccar.losses.softmax_loss import SoftmaxLoss, weighted
from ccar.losses.true_class import TrueClass, apply_to_true_class

LOSSES: dict[str, type[BaseLoss]] = {
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "class_balanced": ClassBalanced,
    "class_balanced_focal": ClassBalancedFocal,
    "ldam": LDAM,
    "logit_adjustment": LogitAdjustment,
    "balanced_softmax": BalancedSoftmax,
    "focal_logit_adjustment": FocalLogitAdjustment,
    "focal_balanced_softmax": FocalBalancedSoftmax,
    "ala": ALA,
    "gala": GALA,
    "sigmoid_focal": SigmoidFocal,
    "class_balanced_sigmoid_focal": ClassBalancedSigmoidFocal,
}

PerImageLoss = Callable[[Tensor, Tensor], Tensor]


def build_loss(
    base: str | PerImageLoss,
    class_counts: Sequence[int] | Tensor,
    *,
    reweighting: Mapping[str, Any] | None = None,
    reduction: str = "mean",
    **base_options: Any,  # noqa: ANN401  the options of whichever base loss was named, checked by it
) -> Loss:
    """A base loss, weighted by CCAR's Omega if asked for, and reduced over the batch.

    Args:
        base: a name in `LOSSES`, or any callable from logits (N, K) and labels (N,) to (N,) losses. For one
            that is no `SoftmaxLoss`, Omega takes its confidence from the softmax of the logits as they came.
        class_counts: K images per class of the training set, each at least 1.
        reweighting: None for the base loss alone, or the options of `Reweighting` by name; `omega` is
            required.
        reduction: `mean`, `weight_normalised`, `scale_matched` or `none`; see `Reduction`.
        base_options: options of the base loss, such as `gamma` or `tau`.

    Returns:
        A module from logits (N, K) and labels (N,) int64 to a scalar; (N,) for `reduction="none"`. It
        computes in float32, or float64 for float64 logits, whether or not autocast is on.

    Raises:
        ValueError: an unknown name or option, or a value out of range.

    Example:
        >>> import torch
        >>> loss = build_loss("focal", [90, 9, 1], gamma=2.0, reweighting={"omega": 0.75})
        >>> loss(torch.zeros(2, 3), torch.tensor([0, 2]))
        tensor(0.6830)
    """
    if isinstance(base, str):
        check_choice("loss", base, LOSSES)
        check_options(f"loss {base!r}", base_options, LOSSES[base])
        base = LOSSES[base](class_counts, **base_options)
    elif not callable(base):
        raise ValueError(f"base must be the name of a loss or a callable, not {base!r}")
    elif base_options:
        raise ValueError(f"a callable base takes no options here, but got: {', '.join(base_options)}")

    counts = checked_class_counts(class_counts)
    weight = None
    if reweighting is not None:
        if not isinstance(reweighting, Mapping):
            raise ValueError(f"reweighting must be None or a mapping such as {{'omega': 0.75}}, not {reweighting!r}")
        check_options("reweighting", reweighting, Reweighting)
        weight = Reweighting(counts, **reweighting)
    return Loss(base, weight, Reduction(reduction), num_classes=len(counts))


class Loss(nn.Module):
    """reduction(Omega * base); made by `build_loss`."""

    def __init__(
        self, base: PerImageLoss, reweighting: Reweighting | None, reduction: Reduction, *, num_classes: int
    ) -> None:
        super().__init__()
        self.base = base
        self.reweighting = reweighting
        self.reduction = reduction
        self.num_classes = num_classes

    @property
    def initial_bias(self) -> float | None:
        """See `BaseLoss.initial_bias`; None for a callable base."""
        return self.base.initial_bias if isinstance(self.base, BaseLoss) else None

    def set_epoch(self, epoch: int, num_epochs: int) -> None:
        """Say that 0-based `epoch` of `num_epochs` begins, for LDAM's DRW; like DistributedSampler's."""
        if isinstance(self.base, BaseLoss):
            self.base.set_epoch(epoch, num_epochs)

    def check_two_labels(self) -> None:
        """Raise ValueError where images with two labels (mixup, CutMix) have no defined loss."""
        if not (isinstance(self.base, BaseLoss) and self.base.takes_two_labels):
            raise ValueError(f"{type(self.base).__name__} is not defined for images with two labels (mixup, CutMix)")
        if self.reweighting is not None and not self.reweighting.takes_two_labels:
            raise ValueError(
                "Omega is not defined for images with two labels (mixup, CutMix); "
                "reweighting={'soft_labels': 'per_label', ...} mixes the losses of both labels"
            )
        if self.reweighting is not None and self.reduction.name == "scale_matched":
            raise ValueError(
                "scale_matched is not defined for images with two labels (mixup, CutMix): each of the two losses would "
                "move the running mean of Omega"
            )

    def of_two_labels(self, logits: Tensor, labels: Tensor, others: Tensor, weight: float) -> Tensor:
        """weight * loss(labels) + (1 - weight) * loss(others): for images that were mixed by the same weight.

        Args:
            logits: (N, K) of the mixed images.
            labels: (N,) int64 labels of the first images.
            others: (N,) int64 labels of the second ones.
            weight: of `labels`, in [0, 1].

        Raises:
            ValueError: see `check_two_labels`.
        """
        self.check_two_labels()
        first: Tensor = self(logits, labels)
        second: Tensor = self(logits, others)
        return weight * first + (1 - weight) * second

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        check_batch(logits, labels, self.num_classes)
        base, reweighting, reduction = self.base, self.reweighting, self.reduction
        if isinstance(base, SoftmaxLoss) and (reweighting is None or reweighting.confidence == "adjusted"):
            return _on_one_softmax(base, reweighting, reduction, at_least_float32(logits), labels)

        loss = base(logits, labels)
        if loss.shape != labels.shape:
            raise ValueError(
                f"the base loss must give one loss per image, {tuple(labels.shape)}, "
                f"not {tuple(loss.shape)}; for a loss of torch, set reduction='none'"
            )
        weights = base.mean_weights(labels, loss.dtype) if isinstance(base, BaseLoss) else None
        if reweighting is None:
            return reduction.of(loss, None, weights)
        omega = apply_to_true_class(
            lambda true: reweighting.weight(true, labels).as_phi(),
            at_least_float32(logits),
            labels,
            scale=base.scale if isinstance(base, BaseLoss) else 1.0,
        )
        return reduction.of(omega * loss, omega, weights)


def _on_one_softmax(
    base: SoftmaxLoss, reweighting: Reweighting | None, reduction: Reduction, logits: Tensor, labels: Tensor
) -> Tensor:
    """The usual case: Omega and base loss see the same p_t, so all is one weight on the cross-entropy."""

    def reduced(true: TrueClass) -> Phi:
        weight, omega = base.weight(true, labels), None
        if reweighting is not None:
            omega = reweighting.weight(true, labels)
            weight = omega if weight is None else omega * weight
        return reduction.of(
            weighted(weight, true),
            omega.as_phi() if omega is not None and reduction.uses_omega else None,
            base.mean_weights(labels, true.cross_entropy.dtype),
        )

    return apply_to_true_class(
        reduced, logits, labels, adjust=base.adjust, true_slope=base.true_slope(labels), scale=base.scale
    )
