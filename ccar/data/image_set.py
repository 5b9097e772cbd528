"""Labelled images, as plain arrays or packed: what every source gives and training reads."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccar.data.packed import PackedImages


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Labelled images, never written to: they may be a read-only memory map.

    Attributes:
        images: (N, C, H, W) uint8, 0 to 255; or N packed ones, decoded when they are asked for.
        labels: (N,) int64 in [0, K).
    """

    images: NDArray[np.uint8] | PackedImages
    labels: NDArray[np.int64]

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """`images` of a set that is not packed."""
        assert not isinstance(self.images, PackedImages)
        return self.images

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: NDArray[np.int64]) -> ImageSet:
        """The images with these indices; a copy where they are arrays."""
        return ImageSet(self.images[indices], self.labels[indices])


@dataclass(frozen=True, slots=True, eq=False)
class SourceData:
    """All images of one source, before a long tail is cut from the training part.

    Attributes:
        train: the images that training and validation are chosen from.
        test: the images that are looked at once, after training; never chosen from.
        class_names: one name for each label, in label order.
        fingerprint: sha256 (hex) of all pixels, labels and class names: equal exactly for equal data. Empty where
            large images are not packed yet: then labels and names are all there is.
        validation: the validation images that the set comes with; None where they are held out of `train`.
        ignored: paths of files in a folder of images that are none.
    """

    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    fingerprint: str
    validation: ImageSet | None = None
    ignored: tuple[str, ...] = ()

    @classmethod
    def of(cls, train: ImageSet, test: ImageSet, class_names: tuple[str, ...]) -> SourceData:
        """The same, with its fingerprint computed (about a second for 2 GB of pixels)."""
        return cls(train, test, class_names, fingerprint(train, test, class_names))


def fingerprint(train: ImageSet, test: ImageSet, class_names: tuple[str, ...]) -> str:
    """sha256 (hex) of everything that a trial can see of the data; shapes included, file names not."""
    shapes = [train.pixels.shape, test.pixels.shape]
    digest = hashlib.sha256(json.dumps([shapes, class_names]).encode())
    for part in (train, test):
        digest.update(np.ascontiguousarray(part.pixels).data)
        digest.update(np.ascontiguousarray(part.labels, dtype="<i8").data)
    return digest.hexdigest()
