"""The published sets that come as list files, from their lists to a pack on this machine."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccar.data.config import DataConfig
from ccar.data.decoding import why_unreadable
from ccar.data.image_set import ImageSet, SourceData
from ccar.data.imagenet_lt import IMAGENET_LT
from ccar.data.inaturalist2018 import INATURALIST2018
from ccar.data.listed import ListedSet, Listing, find_images, read_listing, shown
from ccar.data.packed import RECORD, PackedImages, pack_image, short_side_of
from ccar.data.packing import num_packed, open_pack, pack
from ccar.data.places_lt import PLACES_LT
from ccar.errors import Problem, StudyFileError
from ccar.machine import num_cpus

LISTED_SETS: dict[str, ListedSet] = {
    published.name: published for published in (IMAGENET_LT, INATURALIST2018, PLACES_LT)
}

_PACK_FORMAT = 1  # raise it when decoding or the files of a pack change
_IMAGE_SIZE = 224  # pixels, unless a study says otherwise
_SAMPLE = 48  # images that are packed to learn what all of them would take


@dataclass(frozen=True, slots=True)
class PackState:
    """What a pack takes on this machine.

    Attributes:
        folder: where it is or will be.
        num_images: of all parts.
        num_packed: how many are in it; all of them when it is ready.
        num_bytes: its size on disk; what is to come is estimated from a sample.
        seconds: until it is ready, likewise; 0 when it is.
    """

    folder: Path
    num_images: int
    num_packed: int
    num_bytes: int
    seconds: float

    @property
    def is_ready(self) -> bool:
        """Whether it can be opened."""
        return self.num_packed == self.num_images


def load(data: DataConfig, cache_dir: Path) -> SourceData:
    """The images of a published set; packs them into `cache_dir` where they are not.

    Raises:
        DataError: folders or lists are missing, or the pack cannot be written.
        StudyFileError: what is wrong in the lists, and images that are missing or cannot be read.
    """
    listing = _listing(data)
    folder = _folder(listing, data, cache_dir)
    source = open_pack(folder)
    if source is not None:
        return source
    labels = {name: part.labels for name, part in listing.parts.items()}
    source, unreadable = pack(folder, lambda: _files(listing), labels, listing.class_names, _image_size(data))
    if source is None:
        raise StudyFileError([*_unreadable_problems(listing, unreadable)])
    return source


def load_labels(data: DataConfig, cache_dir: Path) -> SourceData:
    """The images where they are packed; else what the lists say, without a fingerprint.

    Raises:
        DataError: folders or lists are missing.
        StudyFileError: what is wrong in the lists.
    """
    listing = _listing(data)
    source = open_pack(_folder(listing, data, cache_dir))
    if source is not None:
        return source
    nothing = PackedImages(Path(), np.empty(0, np.uint8), np.empty(0, RECORD), _image_size(data))
    parts = {name: ImageSet(nothing, part.labels) for name, part in listing.parts.items()}
    return SourceData(parts["train"], parts["test"], listing.class_names, "", parts.get("validation"))


def check(data: DataConfig) -> int:
    """Check the lists, and that every image is there, without decoding any; returns how many they are.

    Raises:
        DataError: folders or lists are missing.
        StudyFileError: what is wrong in the lists, and images that are missing.
    """
    return len(find_images(_listing(data)))


def pack_state(data: DataConfig, cache_dir: Path) -> PackState:
    """How far the pack of a set is, and what the rest takes; nothing is written.

    Raises:
        DataError: folders or lists are missing.
        StudyFileError: what is wrong in the lists, and images that are missing or cannot be read.
    """
    listing = _listing(data)
    folder = _folder(listing, data, cache_dir)
    total = len(listing)
    size = sum(file.stat().st_size for file in folder.glob("*.bin")) if folder.is_dir() else 0
    if open_pack(folder) is not None:
        return PackState(folder, total, total, size, 0.0)
    files = _files(listing)
    packed = min(num_packed(folder), total - 1)
    sample = range(0, total, max(1, total // _SAMPLE))
    begun = time.perf_counter()
    lengths = [len(_pack_sample(listing, files, index, short_side_of(_image_size(data)))) for index in sample]
    seconds = (time.perf_counter() - begun) / len(lengths) / num_cpus()
    missing = total - packed
    return PackState(folder, total, packed, size + round(sum(lengths) / len(lengths) * missing), seconds * missing)


def _listing(data: DataConfig) -> Listing:
    return read_listing(LISTED_SETS[data.name], data)


def _image_size(data: DataConfig) -> int:
    return _IMAGE_SIZE if data.image_size is None else data.image_size


def _folder(listing: Listing, data: DataConfig, cache_dir: Path) -> Path:
    """Named by all that decides what is packed, but for the bytes of the images: digesting those takes hours."""
    digest = hashlib.sha256(json.dumps([_PACK_FORMAT, str(listing.root.resolve()), _image_size(data)]).encode())
    for name, part in listing.parts.items():
        digest.update(json.dumps([name, part.paths, part.labels.tolist()]).encode())
    return cache_dir / f"{data.name}-{digest.hexdigest()[:16]}"


def _files(listing: Listing) -> list[Path]:
    return [listing.root / path for path in find_images(listing)]


def _pack_sample(listing: Listing, files: list[Path], index: int, short_side: int) -> bytes:
    try:
        return pack_image(files[index], short_side)[0]
    except Exception as error:  # a broken file makes Pillow raise nearly anything
        raise StudyFileError([*_unreadable_problems(listing, {index: why_unreadable(error)})]) from error


def _unreadable_problems(listing: Listing, unreadable: dict[int, str]) -> Iterator[Problem]:
    start = 0
    for part in listing.parts.values():
        indices = [index - start for index in unreadable if start <= index < start + len(part)]
        wrong = [
            part.problem(index, f"cannot read image {listing.root / part.paths[index]}: {unreadable[start + index]}")
            for index in sorted(indices)
        ]
        yield from shown(wrong, str(part.file), "images cannot be read")
        start += len(part)
