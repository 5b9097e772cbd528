"""Accuracy overall, per class, and for the many / medium / few groups of class sizes; with it, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ccar.metrics.calibration import Reliability, reliability_of

Group = Literal["many", "medium", "few"]

# A class with more training images than this is "many", with fewer than that "few"; the rest is "medium".
MANY_ABOVE = 100
FEW_BELOW = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How one model does on one part of the data. Shares are in [0, 1]; None where a group has no class."""

    num_images: int
    loss: float  # mean cross-entropy of the predicted distribution, in nats
    accuracy: float
    balanced_accuracy: float  # mean recall over the classes
    many: float | None  # classes with more than 100 training images
    medium: float | None  # 20 to 100
    few: float | None  # fewer than 20
    per_class: tuple[float, ...]  # recall of each class, in label order; () where it was not kept
    ece: float | None = None  # expected calibration error; None in records of versions that did not measure it
    reliability: Reliability | None = None  # None where it was not kept

    @property
    def worst_class(self) -> float | None:
        """The lowest recall of all classes; None where they were not kept."""
        return min(self.per_class, default=None)


def group_of_class(class_counts: Sequence[int]) -> tuple[Group, ...]:
    """The group of each class, in label order, by its number of *training* images.

    Source: the shot groups of Liu et al., CVPR 2019, arXiv:1904.05160 (OLTR).

    Example:
        >>> group_of_class([500, 100, 20, 5])
        ('many', 'medium', 'medium', 'few')
    """
    return tuple("many" if count > MANY_ABOVE else "few" if count < FEW_BELOW else "medium" for count in class_counts)


def recall_per_class(
    predicted: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]], num_classes: int
) -> NDArray[np.float64]:
    """(num_classes,) share of the images of each class that are predicted right.

    Args:
        predicted: (N,) predicted classes in [0, num_classes).
        labels: (N,) true classes in [0, num_classes); every class occurs.
        num_classes: number of classes.

    Raises:
        ValueError: the shapes disagree, or a class has no image here, so that its recall is undefined.
    """
    if predicted.shape != labels.shape or labels.ndim != 1:
        raise ValueError(f"predictions {predicted.shape} and labels {labels.shape} must be two equal (N,)")
    images_per_class = np.bincount(labels, minlength=num_classes)
    absent = np.flatnonzero(images_per_class == 0)
    if absent.size:
        raise ValueError(f"no image to evaluate class {absent[0]} on ({absent.size} of {num_classes} classes)")
    return np.bincount(labels[predicted == labels], minlength=num_classes) / images_per_class


def evaluate_predictions(
    predicted: NDArray[np.integer[Any]],
    labels: NDArray[np.integer[Any]],
    confidences: NDArray[np.floating[Any]],
    mean_cross_entropy: float,
    class_counts: Sequence[int],
    num_classes: int,
) -> Evaluation:
    """Summarise the predictions for one part of the data.

    Args:
        predicted: (N,) predicted classes in [0, num_classes).
        labels: (N,) true classes in [0, num_classes); every class occurs.
        confidences: (N,) predicted probability of the predicted class, in [0, 1].
        mean_cross_entropy: mean over the images of -log(predicted probability of the label), in nats.
        class_counts: (num_classes,) training images per class; they decide the groups, not the recalls.
        num_classes: number of classes.

    Returns:
        Accuracies and calibration. A group's accuracy is the mean recall of its classes.

    Raises:
        ValueError: the shapes disagree, or a class has no image here, so that its recall is undefined.
    """
    if len(class_counts) != num_classes:
        raise ValueError(f"{len(class_counts)} class counts for {num_classes} classes")
    recall = recall_per_class(predicted, labels, num_classes)
    groups = np.array(group_of_class(class_counts))

    def mean_recall(group: Group) -> float | None:
        chosen = recall[groups == group]
        return float(chosen.mean()) if chosen.size else None

    reliability = reliability_of(confidences, predicted == labels)
    return Evaluation(
        num_images=len(labels),
        loss=mean_cross_entropy,
        accuracy=int((predicted == labels).sum()) / len(labels),
        balanced_accuracy=float(recall.mean()),
        many=mean_recall("many"),
        medium=mean_recall("medium"),
        few=mean_recall("few"),
        per_class=tuple(recall.tolist()),
        ece=reliability.ece,
        reliability=reliability,
    )
