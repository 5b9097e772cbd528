"""CIFAR-10 and CIFAR-100 as torchvision reads them: 32x32 RGB, 50,000 training and 10,000 test images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from filelock import FileLock

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
                hint="set download: true, or set root to the folder that holds " + folder,
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
