"""Decoded images on disk: written once, then opened in milliseconds by every process of a machine.

A cache is a folder with four `.npy` files and a `meta.json`. It appears under its name by one rename, when
all of it is on disk, so a process that is killed half-way leaves nothing that could be taken for a cache.
Caches may be deleted at any time; they come back from the source.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.lib import format as npy
from numpy.typing import NDArray

from ccar.data.image_set import ImageSet, SourceData, fingerprint
from ccar.errors import DataError

log = logging.getLogger(__name__)

_PARTS = ("train", "test")


def open_or_build(folder: Path, build: Callable[[], SourceData], *, verify: bool = False) -> SourceData:
    """Open the cache in `folder`; where there is none, or a damaged one, make it with `build` first.

    One process builds while the others wait for it.

    Args:
        folder: the cache; its name must change whenever the source changes.
        build: decodes the source; called at most once.
        verify: also compute the fingerprint of what is stored (a second for 2 GB), so that a changed pixel is
            found. Without it a missing, shortened or mislabelled file is found, but not a changed pixel.

    Returns:
        The data, its images as read-only memory maps.

    Raises:
        DataError: the cache cannot be written, or what `build` raises.
    """
    source = open_existing(folder, verify=verify)
    if source is not None:
        return source
    with building(folder):
        source = open_existing(folder, verify=verify)  # another process may have built it while we waited
        if source is not None:
            return source
        built = build()
        with explained(folder):
            _write(folder, built)
    source = open_existing(folder)
    if source is None:
        raise DataError(f"{folder} was damaged or deleted right after it was written", hint="run again")
    return source


def open_existing(folder: Path, *, verify: bool = False) -> SourceData | None:
    """What is in the cache; None where there is none, or where it does not hold what its meta.json says.

    Args and the data that is returned: as of `open_or_build`.
    """
    if not folder.exists():
        return None
    try:
        return _read(folder, verify=verify)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged (%s) and will be decoded again", folder, error)
        return None


@contextmanager
def building(folder: Path) -> Iterator[None]:
    """Hold the right to build `folder`. The system lets go of the lock when its holder dies."""
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(folder.name + ".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for another process that decodes the same images into %s", folder)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot keep decoded images in {folder.parent}: {error}",
            hint="use a store on a disk that can be written and has room for the decoded images",
        ) from error


def _read(folder: Path, *, verify: bool) -> SourceData:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    class_names = tuple(str(name) for name in meta["class_names"])
    train, test = (_read_part(folder, part, meta["shapes"][part], len(class_names)) for part in _PARTS)
    if verify and fingerprint(train, test, class_names) != meta["fingerprint"]:
        raise ValueError("the stored images are not those of the fingerprint in meta.json")
    return SourceData(train, test, class_names, str(meta["fingerprint"]))


def _read_part(folder: Path, part: str, shape: list[int], num_classes: int) -> ImageSet:
    images = np.load(folder / f"{part}_images.npy", mmap_mode="r")
    labels = np.load(folder / f"{part}_labels.npy")
    if list(images.shape) != shape or images.dtype != np.uint8:
        raise ValueError(f"{part}_images.npy holds {images.dtype} {images.shape}, expected uint8 {shape}")
    if labels.shape != images.shape[:1] or labels.dtype != np.int64:
        raise ValueError(f"{part}_labels.npy holds {labels.dtype} {labels.shape}, expected int64 ({shape[0]},)")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"{part}_labels.npy has labels outside 0 to {num_classes - 1}")
    labels.flags.writeable = False
    return ImageSet(images, labels)


def _write(folder: Path, source: SourceData) -> None:
    """Put `source` under the name `folder` in one step; the caller holds the lock."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    partial.mkdir()
    try:
        for name, part in zip(_PARTS, (source.train, source.test), strict=True):
            _save(partial / f"{name}_images.npy", part.pixels)
            _save(partial / f"{name}_labels.npy", part.labels)
        meta = {
            "class_names": source.class_names,
            "fingerprint": source.fingerprint,
            "shapes": {"train": source.train.pixels.shape, "test": source.test.pixels.shape},
        }
        with (partial / "meta.json").open("w", encoding="utf-8") as file:
            json.dump(meta, file, indent=1)
            to_disk(file)
        folder_to_disk(partial)
        if folder.exists():  # damaged: out of the way in one step, then deleted
            damaged = folder.with_name(folder.name + ".damaged")
            shutil.rmtree(damaged, ignore_errors=True)
            folder.rename(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        partial.rename(folder)
        folder_to_disk(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # nothing is left of it after the rename


def _save(path: Path, array: NDArray[Any]) -> None:
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        # Not np.save: it writes through C's stdio and says nothing when the last bytes find the disk full.
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
        file.write(array.data)
        to_disk(file)


def to_disk(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def folder_to_disk(folder: Path) -> None:
    """A new name is safe from a power failure only when the folder that lists it is on disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
