"""Accuracy overall, per class, and for the many / medium / few groups of class sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Group = Literal["many", "medium", "few"]


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
    per_class: tuple[float, ...]  # recall of each class, in label order
