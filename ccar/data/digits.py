"""scikit-learn's digits: 1,797 real images of 8x8 pixels that come with the package: no download."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np

from ccar.data.image_set import ImageSet, SourceData

_TEST_PER_CLASS = 40
_SPLIT_SEED = 1797  # the test images are the same for every study and every trial seed
_BRIGHTEST = 16  # the source counts ink in 4x4 blocks: 0 to 16


def identity() -> list[str]:
    """What the images depend on, without importing scikit-learn (a second)."""
    return [version("scikit-learn")]


def decode() -> SourceData:
    """The images as (N, 1, 8, 8); 40 test images of each class, the other 134 to 143 for training.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test part).
    """
    from sklearn.datasets import load_digits  # slow to import, and needed only once

    digits = load_digits()
    images = np.rint(digits.images * (255 / _BRIGHTEST)).astype(np.uint8)[:, np.newaxis]
    labels = digits.target.astype(np.int64)
    rng = np.random.default_rng(_SPLIT_SEED)
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        is_test[rng.choice(np.flatnonzero(labels == label), _TEST_PER_CLASS, replace=False)] = True
    return SourceData.of(
        ImageSet(images[~is_test], labels[~is_test]),
        ImageSet(images[is_test], labels[is_test]),
        tuple(str(name) for name in digits.target_names),
    )
