"""The benchmarks of the literature by name: their class counts, and how many images test them."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Literal

from ccar.data.class_counts import PUBLISHED_TAILS, published_class_counts
from ccar.data.long_tail import long_tailed_counts
from ccar.metrics.accuracy import group_of_class

# Cut by a formula: images of the largest class, number of classes.
_CUT: dict[str, tuple[int, int]] = {"cifar10_lt": (5000, 10), "cifar100_lt": (500, 100)}

# Every class has equally many test images. iNaturalist is tested on its validation images, as the literature does.
TEST_IMAGES: dict[str, int] = {
    "cifar10_lt": 10_000,
    "cifar100_lt": 10_000,
    "imagenet_lt": 50_000,
    "inaturalist2018": 24_426,
    "places_lt": 36_500,
}
BENCHMARKS = tuple(TEST_IMAGES)

NATURAL: Literal["natural"] = "natural"
"""The imbalance factor of a data set that has a tail of its own."""


def needs_imbalance_factor(data: str) -> bool:
    """Whether this benchmark is cut to an imbalance factor, and not a fixed list of images."""
    return data in _CUT


def largest_imbalance_factor(data: str) -> int:
    """Beyond it a class would have no image. `data`: a benchmark that is cut."""
    return _CUT[data][0]


def benchmark_class_counts(data: str, imbalance_factor: float | None = None) -> tuple[int, ...]:
    """Training images of each class, in label order.

    Args:
        data: one of `BENCHMARKS`.
        imbalance_factor: of a benchmark that is cut, between 1 and `largest_imbalance_factor`; the others ignore it.

    Example:
        >>> benchmark_class_counts("cifar10_lt", 100)
        (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)
    """
    for name in PUBLISHED_TAILS:
        if name == data:
            return published_class_counts(name)
    largest, num_classes = _CUT[data]
    assert imbalance_factor is not None, f"{data} is cut to an imbalance factor"
    return tuple(long_tailed_counts(largest, imbalance_factor, num_classes).tolist())


@functools.cache
def benchmark_group_sizes(data: str, imbalance_factor: float | None = None) -> tuple[int, int, int]:
    """How many classes have many (> 100), medium and few (< 20) training images.

    Example:
        >>> benchmark_group_sizes("cifar100_lt", 100)
        (35, 35, 30)
    """
    sizes = Counter(group_of_class(benchmark_class_counts(data, imbalance_factor)))
    return sizes["many"], sizes["medium"], sizes["few"]
