"""Which training images a trial sees: validation first, then a long tail of what remains."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccar.data.config import DataConfig
from ccar.errors import DataError

# Streams of the trial seed, SeedSequence(seed, spawn_key=(stream, ...)): independent of each other and of
# anything else that is seeded with the same number.
_IMAGES_OF_CLASS = 1  # spawn key (1, class)
_CLASS_ORDER = 2  # spawn key (2,)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The chosen images, as indices into `SourceData.train`, ascending.

    Attributes:
        train: (N,) int64, the long-tailed training images.
        validation: (V,) int64, equally many of every class; never in `train`. Empty when none are held out,
            also where the set comes with validation images of its own.
        class_counts: training images of each class, in label order; they sum to N.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    class_counts: tuple[int, ...]


def long_tailed_counts(largest: int, imbalance_factor: float, num_classes: int) -> NDArray[np.int64]:
    """Images per class when counts fall exponentially from `largest` to `largest / imbalance_factor`.

    n_i = floor(largest * imbalance_factor^(-i / (K - 1))), i = 0 to K - 1.

    Args:
        largest: images of class 0, at least 1.
        imbalance_factor: largest / smallest count before rounding down, at least 1.
        num_classes: K, at least 2.

    Returns:
        (K,) int64, falling. 0 where a class gets no image: the caller decides whether that is an error.

    Raises:
        DataError: an argument is out of range.

    Source: Cui et al., CVPR 2019, arXiv:1901.05555; rounded down as in the code of LDAM and Balanced Softmax.

    Example:
        >>> long_tailed_counts(5000, 100, 10).tolist()
        [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    if largest < 1 or num_classes < 2 or not 1 <= imbalance_factor < np.inf:
        raise DataError(
            "a long tail needs largest >= 1, two or more classes and an imbalance_factor >= 1: "
            f"found {largest}, {num_classes} and {imbalance_factor}"
        )
    ranks = np.arange(num_classes) / (num_classes - 1)
    # The power is right to about 1e-15; 1e-12 lifts 499.99999999999994 to the 500 that it stands for.
    return np.floor(largest * float(imbalance_factor) ** -ranks * (1 + 1e-12)).astype(np.int64)


def split_long_tailed(labels: NDArray[np.int64], data: DataConfig, seed: int) -> Split:
    """Choose validation and training images for one trial seed.

    The images of every class are shuffled with a generator of their own. The first `validation_per_class` are
    held out, the next n_c are trained on. So for one seed all imbalance factors share the validation part,
    and the training images of a longer tail are among those of a shorter one.

    The head of the tail gets as many images as the smallest class of `labels` has left after validation, so
    that every class can stand anywhere in the tail. `imbalance_factor: natural` cuts nothing and keeps all.

    Args:
        labels: (N,) labels of all training images.
        data: `imbalance_factor`, `validation_per_class` and `class_order` matter here.
        seed: of the trial, at least 0.

    Raises:
        DataError: a class would have no training image; the message says what would work.
    """
    images_of_class = _shuffled_images(labels, seed)
    num_validation = 0 if data.validation_per_class == "own" else data.validation_per_class
    remaining = [len(images) - num_validation for images in images_of_class]
    _check_remaining(remaining, num_validation)
    class_counts = _class_counts(remaining, data, seed)
    train = np.sort(
        np.concatenate(
            [
                images[num_validation : num_validation + count]
                for images, count in zip(images_of_class, class_counts, strict=True)
            ]
        )
    )
    validation = np.sort(np.concatenate([images[:num_validation] for images in images_of_class]))
    found = np.bincount(labels[train], minlength=len(class_counts)).tolist()
    assert found == class_counts, f"chose {found} images per class instead of {class_counts}"
    return Split(train, validation, tuple(class_counts))


def data_fingerprint(source_fingerprint: str, split: Split) -> str:
    """sha256 (hex) of the source's bytes and of the chosen indices: what a trial key holds of the data."""
    digest = hashlib.sha256(source_fingerprint.encode())
    for indices in (split.train, split.validation):
        digest.update(len(indices).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(indices, dtype="<i8").data)
    return digest.hexdigest()


def _shuffled_images(labels: NDArray[np.int64], seed: int) -> list[NDArray[np.int64]]:
    """Indices of each class's images, in the random order in which they are handed out."""
    sizes = np.bincount(labels)
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
    return [
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_IMAGES_OF_CLASS, label))).permutation(images)
        for label, images in enumerate(by_class)
    ]


def _check_remaining(remaining: Sequence[int], num_validation: int) -> None:
    smallest = int(np.argmin(remaining))
    if remaining[smallest] < 1:
        size = remaining[smallest] + num_validation
        raise DataError(
            f"validation_per_class: {num_validation} leaves class {smallest} without a training image: "
            f"it has {size}, so at most {max(size - 1, 0)}"
        )


def _class_counts(remaining: Sequence[int], data: DataConfig, seed: int) -> list[int]:
    """Training images of each class, in label order."""
    if data.imbalance_factor == "natural":
        if data.class_order != "label":
            raise DataError(
                f"class_order: {data.class_order} needs a tail to cut, imbalance_factor: natural cuts none; "
                "leave one of them out"
            )
        return list(remaining)
    largest, num_classes = min(remaining), len(remaining)
    if data.imbalance_factor > largest:
        raise DataError(
            f"imbalance_factor: {data.imbalance_factor:g} leaves a class without a training image; at most "
            f"{largest} works: the head has {largest} images, what the smallest class of the data has left "
            f"after {data.validation_per_class} for validation"
        )
    counts = long_tailed_counts(largest, data.imbalance_factor, num_classes)
    return [int(counts[rank]) for rank in _rank_of_class(data, num_classes, seed)]


def _rank_of_class(data: DataConfig, num_classes: int, seed: int) -> NDArray[np.int64]:
    """Place of each class in the tail: 0 for the head."""
    match data.class_order:
        case "label":
            return np.arange(num_classes)
        case "reversed":
            return np.arange(num_classes)[::-1]
        case "shuffled":
            order = np.random.SeedSequence(seed, spawn_key=(_CLASS_ORDER,))
            return np.random.default_rng(order).permutation(num_classes)
