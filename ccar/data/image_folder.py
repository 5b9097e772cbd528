"""Anyone's images: `root/train/<class>/*` and `root/test/<class>/*` as PNG, JPEG or WebP."""

from __future__ import annotations

import difflib
import logging
import os
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from ccar.data.decoding import FORMATS, open_rgb, why_unreadable
from ccar.data.image_set import ImageSet, SourceData
from ccar.errors import DataError

log = logging.getLogger(__name__)

_PARTS = ("train", "test")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_FEW_IMAGES = 2_000  # decode in about a second: then unreadable ones are told together with misplaced folders
_SHOWN = 10  # problems of one kind; the rest are counted
_CHUNK = 256  # images that one thread decodes at a time
_LOG_SECONDS = 5.0


class ImageFile(NamedTuple):
    """One file of the listing; -1 for size and time where the file cannot even be looked at."""

    path: str  # from the root, with forward slashes
    size: int  # bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What the folders hold, nothing decoded yet.

    Attributes:
        root: the folder with train/ and test/.
        files: part, then class name, then its images sorted by name. The classes are sorted by name too, so
            label k is the k-th class folder of train/.
        ignored: files that are no PNG, JPEG or WebP by their suffix.
    """

    root: Path
    files: Mapping[str, Mapping[str, Sequence[ImageFile]]]
    ignored: Sequence[str]

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.files["train"])

    def images(self, part: str) -> list[ImageFile]:
        return [file for files in self.files[part].values() for file in files]


def list_images(root: Path) -> Listing:
    """List all images below `root`; about 4 s per million files on a local disk.

    Raises:
        DataError: folders are missing, empty or do not match; every problem has its line.
    """
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"image folder {root} {what}: expected {root}/train/<class>/ and {root}/test/<class>/")
    ignored: list[str] = []
    try:
        files = {part: _list_part(root, part, ignored) for part in _PARTS if (root / part).is_dir()}
    except OSError as error:
        raise DataError(f"cannot list the images in {root}: {error}") from error
    listing = Listing(root, files, ignored)
    problems = _folder_problems(listing)
    if problems:
        found = [file for part in files for file in listing.images(part)]
        if 0 < len(found) <= _FEW_IMAGES:
            problems += _decode_all(root, found, image_size=1)[1].lines()
        raise DataError("\n".join(problems))
    return listing


def identity(listing: Listing, image_size: int | None) -> list[object]:
    """What the decoded images depend on: the place, every file's name, size and time, and the target size."""
    files = [file for part in _PARTS for file in listing.images(part)]
    return [str(listing.root.resolve()), image_size, files]


def decode(listing: Listing, image_size: int | None) -> SourceData:
    """Read every image as 8-bit RGB, in threads; rotation marks of cameras (EXIF) are not followed.

    Args:
        listing: from `list_images`.
        image_size: side length in pixels: the short side is resized to it (bilinear, antialiased) and the
            middle square is kept. None: the images must all have one size and stay as they are.

    Returns:
        Images (N, 3, H, W), grouped by class in label order.

    Raises:
        DataError: images cannot be read, or have more than one size.
    """
    train_files, test_files = (listing.images(part) for part in _PARTS)
    images, faults = _decode_all(listing.root, train_files + test_files, image_size)
    if problems := faults.lines():
        raise DataError("\n".join(problems))
    train_images, test_images = np.split(images, [len(train_files)])
    train_labels, test_labels = (
        np.repeat(
            np.arange(len(listing.class_names)),
            [len(listing.files[part][name]) for name in listing.class_names],
        )
        for part in _PARTS
    )
    return SourceData.of(ImageSet(train_images, train_labels), ImageSet(test_images, test_labels), listing.class_names)


def _list_part(root: Path, part: str, ignored: list[str]) -> dict[str, list[ImageFile]]:
    classes: dict[str, list[ImageFile]] = {}
    for folder in _visible(root / part):
        if folder.is_dir():
            classes[folder.name] = _list_class(folder, f"{part}/{folder.name}", ignored)
        else:
            ignored.append(f"{part}/{folder.name}")
    return classes


def _list_class(folder: os.DirEntry[str], prefix: str, ignored: list[str]) -> list[ImageFile]:
    files = []
    for entry in _visible(Path(folder.path)):
        path = f"{prefix}/{entry.name}"
        if not entry.name.lower().endswith(_SUFFIXES):
            ignored.append(path)
            continue
        try:
            status = entry.stat()
        except OSError:  # a link to nowhere: decoding says so
            files.append(ImageFile(path, -1, -1))
        else:
            files.append(ImageFile(path, status.st_size, status.st_mtime_ns))
    return files


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)


def _folder_problems(listing: Listing) -> list[str]:
    """One line for each thing that is wrong with the folders themselves."""
    root, files = listing.root, listing.files
    problems = [
        f"{root / part} does not exist: expected {root / part}/<class>/<image>" for part in _PARTS if part not in files
    ]
    if "train" in files and len(files["train"]) < 2:
        found = ", ".join(files["train"]) or "none"
        problems.append(f"{root / 'train'} needs two or more class folders: found {found}")
    problems += _shown(
        [
            f"class folder {root / part / name} holds no image: expected PNG, JPEG or WebP files"
            for part, classes in files.items()
            for name, images in classes.items()
            if not images
        ],
        "class folders hold no image",
    )
    if len(files) == len(_PARTS):
        problems += _unmatched(root, "test", files["test"], "train", files["train"])
        problems += _unmatched(root, "train", files["train"], "test", files["test"])
    return problems


def _unmatched(root: Path, part: str, names: Collection[str], other: str, others: Collection[str]) -> list[str]:
    lines: list[str] = []
    for name in names:
        if name not in others:
            # Only where it is shown: with thousands of classes this comparison takes minutes.
            near = difflib.get_close_matches(name, others, 1) if len(lines) < _SHOWN else []
            hint = f"; did you mean '{near[0]}'?" if near else ""
            lines.append(f"class '{name}' of {root / part} has no folder in {root / other}{hint}")
    return _shown(lines, f"classes of {root / part} have no folder in {root / other}")


def _shown(lines: list[str], what: str) -> list[str]:
    """The first ten lines, and how many there are in all."""
    more = len(lines) - _SHOWN
    return lines[:_SHOWN] + ([f"and {more} more {what} ({len(lines)} in all)"] if more > 0 else [])


@dataclass(slots=True)
class _Faults:
    unreadable: list[str] = field(default_factory=list)  # one line each
    other_sizes: list[str] = field(default_factory=list)  # "PATH has WxH pixels", against the first image

    def lines(self) -> list[str]:
        lines = _shown(self.unreadable, "images cannot be read")
        if self.other_sizes:
            lines.append(
                f"images differ in size: {self.other_sizes[0]}, {len(self.other_sizes)} in all differ "
                "from the first; set image_size to bring them to one size"
            )
        return lines


def _decode_all(root: Path, files: Sequence[ImageFile], image_size: int | None) -> tuple[NDArray[np.uint8], _Faults]:
    first, (width, height) = _first_size(root, files)
    if image_size is not None:
        width = height = image_size
    images = _allocate(len(files), height, width)
    starts = range(0, len(files), _CHUNK)
    faults = _Faults()
    last_logged = time.monotonic()
    with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter lock while it decodes
        chunks = [
            pool.submit(_decode_chunk, root, files[i : i + _CHUNK], images[i : i + _CHUNK], image_size) for i in starts
        ]
        try:
            for start, chunk in zip(starts, chunks, strict=True):
                found = chunk.result()
                faults.unreadable += found.unreadable
                faults.other_sizes += [f"{root / first.path} has {width}x{height}, {x}" for x in found.other_sizes]
                if time.monotonic() - last_logged > _LOG_SECONDS:
                    last_logged = time.monotonic()
                    log.info("decoded %d of %d images in %s", start + _CHUNK, len(files), root)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C: do not decode the rest first
            raise
    return images, faults


def _decode_chunk(root: Path, files: Sequence[ImageFile], images: NDArray[np.uint8], image_size: int | None) -> _Faults:
    """Decode `files` into `images`, which is (len(files), 3, H, W)."""
    faults = _Faults()
    for file, image in zip(files, images, strict=True):
        path = root / file.path
        try:
            pixels = _decode_image(path, image_size)
        except Exception as error:  # a broken file makes Pillow raise nearly anything
            faults.unreadable.append(f"cannot read image {path}: {why_unreadable(error)}")
            continue
        if pixels.shape == image.shape:
            image[:] = pixels
        else:
            faults.other_sizes.append(f"{path} has {pixels.shape[2]}x{pixels.shape[1]} pixels")
    return faults


def _allocate(num_images: int, height: int, width: int) -> NDArray[np.uint8]:
    """Room for all images at once; an explanation where that is more than the machine has."""
    needed, free = num_images * 3 * height * width, psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"{num_images} images of {width}x{height} pixels need {needed / 1e9:.1f} GB of memory, "
            f"{free / 1e9:.1f} GB is free",
            hint="set a smaller image_size: images are decoded once and kept in memory",
        )
    return np.empty((num_images, 3, height, width), dtype=np.uint8)


def _decode_image(path: Path, image_size: int | None) -> NDArray[np.uint8]:
    """(3, H, W) uint8."""
    from PIL import Image, ImageOps  # decoding is the exception: most processes only open the cache

    image = open_rgb(path)
    if image_size is not None:
        image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def _first_size(root: Path, files: Sequence[ImageFile]) -> tuple[ImageFile, tuple[int, int]]:
    """The first image that can be opened, and the width and height in its header."""
    from PIL import Image

    for file in files:
        try:
            with Image.open(root / file.path, formats=FORMATS) as image:
                return file, image.size
        except Exception:  # decoding tells why
            continue
    return files[0], (1, 1)
