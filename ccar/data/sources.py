"""From the name of a data set to its images: decoded or packed once, then opened from the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ccar.data import cifar, digits, image_folder, listed_sets
from ccar.data.cache import open_existing, open_or_build
from ccar.data.config import DataConfig
from ccar.data.image_set import SourceData
from ccar.data.listed_sets import LISTED_SETS, PackState
from ccar.errors import DataError

_CACHE_FORMAT = 1  # raise it when decoding or the files of a cache change


def load_source(data: DataConfig, cache_dir: Path, *, verify: bool = False) -> SourceData:
    """The images that `data` names, before any tail is cut.

    The first call decodes them into `cache_dir` (and downloads CIFAR where that is allowed); later calls,
    from any process, open that cache in milliseconds as long as the source is what it was. (A folder is
    listed each time to know that: 0.3 s for 60,000 images. Of sets that come as lists, the lists are read each
    time: a second for half a million images.)

    Args:
        data: only `name`, `root`, `lists`, `counts`, `download` and `image_size` matter here.
        cache_dir: for the decoded images, and the CIFAR files when `root` is None. May be shared and deleted.
        verify: compare every stored pixel with the fingerprint, and decode again where they differ. Meant for
            once per process, before training: a second for 2 GB. Packed images are compared whenever they are
            read, so for them it makes no difference.

    Raises:
        DataError: the source is missing, incomplete or unreadable; one line for each problem.
        StudyFileError: the same for sets that come as lists, with the lines of the lists.
    """
    check_options(data)
    if data.name in LISTED_SETS:
        return listed_sets.load(data, cache_dir)
    folder, decode, ignored = _cache_of(data, cache_dir)
    return replace(open_or_build(folder, decode, verify=verify), ignored=ignored)


def open_source(data: DataConfig, cache_dir: Path) -> SourceData:
    """The images that `data` names where they are at hand: decoded before, or digits. Nothing is written or downloaded.

    Raises:
        DataError: they are not, or `data` is wrong.
    """
    check_options(data)
    if data.name in LISTED_SETS:
        raise DataError(f"images of {data.name} are packed one by one, not decoded")
    folder, decode, _ = _cache_of(data.model_copy(update={"download": False}), cache_dir)
    source = open_existing(folder)
    if source is None and data.name == "digits":
        return decode()
    if source is None:
        raise DataError(f"the images of {data.name} are not decoded here")
    return source


def load_labels(data: DataConfig, cache_dir: Path) -> SourceData:
    """As `load_source`, but large images are not packed for it: where they are not, only their labels are there.

    Raises:
        DataError, StudyFileError: as `load_source`.
    """
    check_options(data)
    return listed_sets.load_labels(data, cache_dir) if data.name in LISTED_SETS else load_source(data, cache_dir)


def check_images(data: DataConfig, cache_dir: Path) -> int:
    """Look for every image, and compare every stored pixel with its fingerprint; returns how many images there are.

    Images of sets that come as lists are looked for, not decoded: that takes hours, and is done once when they are
    packed.

    Raises:
        DataError, StudyFileError: all that is wrong, as `load_source`.
    """
    check_options(data)
    if data.name in LISTED_SETS:
        return listed_sets.check(data)
    source = load_source(data, cache_dir, verify=True)
    return len(source.train) + len(source.test)


def pack_state(data: DataConfig, cache_dir: Path) -> PackState | None:
    """How far the pack of large images is; None for sets that are small enough to be decoded as they are.

    Raises:
        DataError, StudyFileError: as `load_source`, without packing anything.
    """
    check_options(data)
    return listed_sets.pack_state(data, cache_dir) if data.name in LISTED_SETS else None


def _cache_of(data: DataConfig, cache_dir: Path) -> tuple[Path, Callable[[], SourceData], tuple[str, ...]]:
    """Where the decoded images are, what decodes them, and the files beside them that are ignored.

    The name of the folder digests what the images depend on.
    """
    name, root = data.name, data.root
    listing: image_folder.Listing | None = None
    identity: object
    decode: Callable[[], SourceData]
    match name:
        case "cifar10" | "cifar100":
            root = root or cache_dir / "downloads"
            if (root / "train").is_dir():  # the same images, each in a file of its own
                listing = image_folder.list_images(root)
                cifar.check_listing(name, listing)
                identity, decode = image_folder.identity(listing, None), partial(cifar.decode_listing, name, listing)
            else:
                identity = cifar.identity(name, root, download=data.download)
                decode = partial(cifar.decode, name, root)
        case "image_folder":
            assert root is not None
            listing = image_folder.list_images(root)
            identity = image_folder.identity(listing, data.image_size)
            decode = partial(image_folder.decode, listing, data.image_size)
        case _:
            identity, decode = digits.identity(), digits.decode
    digest = hashlib.sha256(json.dumps([_CACHE_FORMAT, identity]).encode()).hexdigest()[:16]
    ignored = () if listing is None else tuple(str(listing.root / path) for path in listing.ignored)
    return cache_dir / f"{name}-{digest}", decode, ignored


def check_options(data: DataConfig) -> None:
    """Refuse options that this source would ignore: they would look as if they did something.

    Raises:
        DataError: what is wrong, a line each.
    """
    name = data.name
    is_folder, is_cifar, is_listed = name == "image_folder", name in ("cifar10", "cifar100"), name in LISTED_SETS
    problems = []
    if is_folder and data.root is None:
        problems.append("image_folder needs a root: the folder that holds train/<class>/ and test/<class>/")
    if is_listed and data.root is None:
        problems.append(f"{name} needs a root: the folder below which its lists name the images")
    if name == "digits" and data.root is not None:
        problems.append(f"digits comes with scikit-learn and has no root: found {data.root}")
    if data.download and not is_cifar:
        problems.append(f"download is for cifar10 and cifar100: {name} downloads nothing")
    if data.image_size is not None and not is_folder and not is_listed:
        problems.append(f"image_size is for image_folder and sets that come as lists: images of {name} have one size")
    for option, default in (("lists", None), ("counts", "published")):
        if getattr(data, option) != default and not is_listed:
            problems.append(f"{option} is for {', '.join(LISTED_SETS)}: {name} does not come as lists")
    if problems:
        raise DataError("\n".join(problems))
