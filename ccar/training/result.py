"""What training hands out: one value per epoch, and one look at the test set at the very end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ccar.metrics.accuracy import Evaluation
from ccar.metrics.confusion import Confusions


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """One finished epoch. `epoch` counts from 1; times are in seconds, `finished_at` is Unix time.

    A procedure that trains nothing has one epoch, without the loss, rate and speed of a training.
    """

    epoch: int
    train_loss: float | None
    learning_rate: float | None
    seconds: float
    images_per_second: float | None  # while training: `seconds` have validation in them
    finished_at: float
    validation: Evaluation | None  # None when the study keeps no validation part
    chosen: Mapping[str, float] = field(default_factory=dict)  # on the validation part, such as tau
    num_images: int = 0  # trained on; 0 in records of versions that did not count them


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """The test set, read once after the last epoch."""

    __test__ = False  # not a test case, whatever pytest makes of the name
    last_epoch: Evaluation
    best_epoch: Evaluation | None  # weights of the best validation epoch; None without a validation part
    best_epoch_index: int | None
    confusions: Confusions | None = None  # of the last epoch; None in records of versions that did not keep them
