from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def class_counts():
    """A long tail small enough for slow loops: four classes, from 40 images down to 2."""
    return [40, 15, 6, 2]


@pytest.fixture(scope="session")
def tail_batch():
    """(logits, labels) of seven images: every class, right and wrong, sure and unsure; none near a pivot."""
    rng = np.random.default_rng(0)
    labels = [0, 1, 2, 3, 3, 0, 1]
    logits = rng.normal(size=(7, 4))
    logits[0, 0] += 4.0  # right and sure, at and above every pivot
    logits[3, 3] += 5.0
    logits[4, 3] -= 3.0  # wrong
    return logits, labels


def cifar100_lt_counts(imbalance_factor: int, num_classes: int = 100, largest: int = 500) -> list[int]:
    return [int(largest * (1 / imbalance_factor) ** (i / (num_classes - 1))) for i in range(num_classes)]
