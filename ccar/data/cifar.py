"""CIFAR-10 and CIFAR-100 as torchvision reads them, or as files: 32x32 RGB, 50,000 training and 10,000 test images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from filelock import FileLock

from ccar.data import image_folder
from ccar.data.image_folder import Listing
from ccar.data.image_set import ImageSet, SourceData
from ccar.errors import DataError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

log = logging.getLogger(__name__)

CifarName = Literal["cifar10", "cifar100"]

# The files that torchvision reads, named here too: looking for them must not take the 3 s of its import.
_FILES: dict[CifarName, tuple[str, tuple[str, ...]]] = {
    "cifar10": (
        "cifar-10-batches-py",
        (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
    ),
    "cifar100": ("cifar-100-python", ("train", "test", "meta")),
}

# Classes, and images of each for training and test.
_SIZES: dict[CifarName, tuple[int, int, int]] = {"cifar10": (10, 5000, 1000), "cifar100": (100, 500, 100)}


def identity(name: CifarName, root: Path, *, download: bool) -> list[tuple[str, int, int]]:
    """Name, size in bytes and modification time in ns of each file; downloads what is missing.

    Raises:
        DataError: files are missing and may not be, or cannot be, downloaded.
    """
    folder, names = _FILES[name]
    if not all((root / folder / file).is_file() for file in names):
        if not download:
            raise DataError(
                f"{name} is not in {root}: expected {folder}/ with the files {', '.join(names)}",
                hint=f"set download: true, or set root to the folder that holds {folder}, or train/ and test/",
            )
        _download(name, root)
    status = [(file, (root / folder / file).stat()) for file in names]
    return [(file, stat.st_size, stat.st_mtime_ns) for file, stat in status]


def decode(name: CifarName, root: Path) -> SourceData:
    """Images (N, 3, 32, 32) and fine labels; torchvision checks the md5 of every file.

    Raises:
        DataError: a file is not what it should be.
    """
    try:
        train, test = (_dataset(name)(root, train=is_train) for is_train in (True, False))
    except (RuntimeError, OSError) as error:
        folder, _ = _FILES[name]
        raise DataError(
            f"the files in {root / folder} are damaged or changed: {error}",
            hint="delete that folder and run again with download: true",
        ) from error
    return SourceData.of(_image_set(train), _image_set(test), tuple(train.classes))


def check_listing(name: CifarName, listing: Listing) -> None:
    """Are these all the images of the data set, by their number? Published numbers are set beside what they give.

    Raises:
        DataError: they are not.
    """
    expected = _SIZES[name]
    parts = ("train", "test")
    found = (len(listing.class_names), *({len(files) for files in listing.files[part].values()} for part in parts))
    if found != (expected[0], {expected[1]}, {expected[2]}):
        classes, *sizes = expected
        raise DataError(
            f"the images in {listing.root} are not {name}: expected {classes} classes with {sizes[0]} images each in "
            f"train/ and {sizes[1]} in test/, found {found[0]} classes, {len(listing.images('train')):,} images in "
            f"train/ and {len(listing.images('test')):,} in test/",
            hint="for a part of it, or for other images, write name: image_folder",
        )


def decode_listing(name: CifarName, listing: Listing) -> SourceData:
    """Images (N, 3, 32, 32), grouped by class. In another order than torchvision's: other trials, other keys.

    Raises:
        DataError: images cannot be read, or have another size.
    """
    source = image_folder.decode(listing, None)
    size = source.train.pixels.shape[1:]
    if size != (3, 32, 32):
        raise DataError(
            f"the images in {listing.root} are not {name}: expected 32x32 pixels, found {size[2]}x{size[1]}"
        )
    return source


def _image_set(dataset: CIFAR10) -> ImageSet:
    images = np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2))  # torchvision keeps (N, H, W, C)
    return ImageSet(images, np.asarray(dataset.targets, dtype=np.int64))


def _download(name: CifarName, root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):  # one download, however many processes need it
            log.info("downloading %s into %s", name, root)
            _dataset(name)(root, download=True)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"cannot download {name} into {root}: {error}",
            hint=f"download it elsewhere and set root to the folder that holds {_FILES[name][0]}",
        ) from error


def _dataset(name: CifarName) -> type[CIFAR10]:
    from torchvision.datasets import CIFAR10, CIFAR100  # 3 s to import, and needed only once

    datasets: dict[CifarName, type[CIFAR10]] = {"cifar10": CIFAR10, "cifar100": CIFAR100}
    return datasets[name]
