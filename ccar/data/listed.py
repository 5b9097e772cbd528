"""Published sets that come as list files: which images, in which part, of which class; nothing is decoded here.

A list file has one `path label` per line. Everything in it is checked before an image is looked at: a path that
leads out of the image folder, a label without a class, a class without an image, an image that is listed twice
(a test image that is also trained on, for one), and counts that are not the published ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ccar.data.class_counts import PublishedTail, published_class_counts
from ccar.data.config import DataConfig
from ccar.errors import DataError, Problem, StudyFileError

Part = Literal["train", "validation", "test"]

_SHOWN = 10  # problems of one kind in one list; the rest are counted
_CHUNK = 1024  # images that one thread looks for at a time
_THREADS = 16  # a network folder answers many questions at once about as fast as one


@dataclass(frozen=True, slots=True)
class ListedSet:
    """What is fixed about a published set, whoever has its images.

    Attributes:
        name: as in a study file.
        files: list file of each part that the set has.
        per_class: images of every class in the parts that are balanced.
        class_name: the name of the class, from the path of one of its training images.
        locations: where an image may lie below the root, by its path in the list and its class; as written first.
        annotations: files that say the same as `files`, read where those are not there; and how to read one.
    """

    name: PublishedTail
    files: Mapping[Part, str]
    per_class: Mapping[Part, int]
    class_name: Callable[[str], str]
    locations: Callable[[str, str], tuple[str, ...]]
    annotations: tuple[Mapping[Part, str], Callable[[Path], ListedImages]] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ListedImages:
    """One part of a set as its list has it.

    Attributes:
        file: the list.
        paths: of the images, below the root, as the list writes them.
        labels: (N,) int64.
        lines: line of each image in `file`, from 1; None where the file has no lines to speak of (JSON).
    """

    file: Path
    paths: Sequence[str]
    labels: NDArray[np.int64]
    lines: Sequence[int] | None

    def __len__(self) -> int:
        return len(self.paths)

    def place(self, index: int) -> str:
        """Where the list names an image: `FILE:LINE`."""
        return str(self.file) if self.lines is None else f"{self.file}:{self.lines[index]}"

    def problem(self, index: int, message: str) -> Problem:
        """Something wrong with an image, where the list names it."""
        return Problem(str(self.file), None if self.lines is None else self.lines[index], message)


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """The lists of a set, checked; whether the images are there is another question: see `find_images`.

    Attributes:
        published: the set.
        root: folder of the images.
        parts: in the order train, validation (where the set has one), test.
        class_names: one for each label, in label order.
    """

    published: ListedSet
    root: Path
    parts: Mapping[Part, ListedImages]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts.values())


def read_listing(published: ListedSet, data: DataConfig) -> Listing:
    """Read and check the lists of a set; a second for half a million images.

    Args:
        published: the set.
        data: `root`, `lists` (default: the root) and `counts` matter here.

    Raises:
        DataError: the folder of the images or of the lists is not there, or a list is missing from it.
        StudyFileError: all that is wrong in the lists, with their lines.
    """
    assert data.root is not None
    if not data.root.is_dir():
        raise DataError(f"image folder {data.root} does not exist: expected the images of {published.name} below it")
    parts = _read_parts(published, data.lists or data.root)
    must_match = data.counts == "published"
    num_classes = len(published_class_counts(published.name)) if must_match else _num_classes(parts["train"])
    problems = [
        *_misplaced(parts.values()),
        *_listed_twice(parts.values()),
        *(problem for part in parts.values() for problem in _labels_out_of_range(part, num_classes)),
        *_classes_without_image(parts["train"], num_classes),
    ]
    if must_match and not problems:
        problems = [*_other_counts(published, parts)]
    if problems:
        raise StudyFileError(problems)
    train = parts["train"]
    first = np.unique(train.labels, return_index=True)[1]
    return Listing(published, data.root, parts, tuple(published.class_name(train.paths[i]) for i in first))


def find_images(listing: Listing) -> list[str]:
    """The path of every image below the root, part after part, where it really lies.

    Raises:
        StudyFileError: images are missing; the first few by name, all by number.
    """
    images = [
        (path, listing.class_names[label])
        for part in listing.parts.values()
        for path, label in zip(part.paths, part.labels.tolist(), strict=True)
    ]
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = [path for paths in pool.map(lambda chunk: _find(listing, chunk), chunks) for path in paths]
    if None in found:
        raise StudyFileError([*_missing(listing, found)])
    return [path for path in found if path is not None]


def read_list(file: Path) -> ListedImages:
    """One `path label` per line, separated by blanks; lines may end in CRLF, and empty ones are skipped.

    Raises:
        DataError: the file cannot be read.
        StudyFileError: lines that are none.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list {file}: {error}") from error
    paths, labels, lines, wrong = [], [], [], []
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.rsplit(maxsplit=1)
        if len(fields) == 2 and fields[1].removeprefix("-").isdecimal():
            paths.append(fields[0].lstrip())
            labels.append(int(fields[1]))
            lines.append(number)
        elif fields:
            message = f"not an image and its label: found {line.strip()[:80]!r}, expected `path label`"
            wrong.append(Problem(str(file), number, message))
    if wrong:
        raise StudyFileError([*shown(wrong, str(file), "lines are not `path label`")])
    return ListedImages(file, paths, np.array(labels, dtype=np.int64), lines)


def shown(problems: list[Problem], file: str, what: str, total: int | None = None) -> Iterator[Problem]:
    """The first ten, and how many there are in all."""
    total = len(problems) if total is None else total
    yield from problems[:_SHOWN]
    if total > _SHOWN:
        yield Problem(file, None, f"{total} {what}; the first {_SHOWN} are named here")


def _read_parts(published: ListedSet, folder: Path) -> dict[Part, ListedImages]:
    files: Mapping[Part, str] = published.files
    read: Callable[[Path], ListedImages] = read_list
    if published.annotations is not None and not any((folder / name).is_file() for name in files.values()):
        names, read_annotations = published.annotations
        if any((folder / name).is_file() for name in names.values()):
            files, read = names, read_annotations
    missing = [name for name in files.values() if not (folder / name).is_file()]
    if missing:
        known = [published.files] + ([published.annotations[0]] if published.annotations else [])
        raise DataError(
            f"the lists of {published.name} are not in {folder}: {', '.join(missing)} not found",
            hint=f"set `lists` to the folder that holds {' or '.join(', '.join(names.values()) for names in known)}",
        )
    parts = {part: read(folder / name) for part, name in files.items()}
    for listed in parts.values():
        if not len(listed):
            raise DataError(f"{listed.file} lists no image")
    return parts


def _num_classes(train: ListedImages) -> int:
    return int(train.labels.max()) + 1


def _misplaced(parts: Iterable[ListedImages]) -> Iterator[Problem]:
    for part in parts:
        wrong = [
            part.problem(index, f"path leads out of the image folder: found {path}, expected one below `root`")
            for index, path in enumerate(part.paths)
            if path.startswith("/") or (".." in path and ".." in path.split("/"))
        ]
        yield from shown(wrong, str(part.file), "paths lead out of the image folder")


def _listed_twice(parts: Iterable[ListedImages]) -> Iterator[Problem]:
    first: dict[str, tuple[ListedImages, int]] = {}
    for part in parts:
        wrong = []
        for index, path in enumerate(part.paths):
            other, earlier = first.setdefault(path, (part, index))
            if (other, earlier) != (part, index):
                message = f"image is listed twice: found {path}, which {other.place(earlier)} has already"
                wrong.append(part.problem(index, message))
        yield from shown(wrong, str(part.file), "images are listed twice")


def _labels_out_of_range(part: ListedImages, num_classes: int) -> Iterator[Problem]:
    wrong = [
        part.problem(index, f"label is out of range: found {part.labels[index]}, expected 0 to {num_classes - 1}")
        for index in np.flatnonzero((part.labels < 0) | (part.labels >= num_classes)).tolist()
    ]
    yield from shown(wrong, str(part.file), "labels are out of range")


def _classes_without_image(train: ListedImages, num_classes: int) -> Iterator[Problem]:
    absent = np.setdiff1d(np.arange(num_classes), train.labels).tolist()
    wrong = [
        Problem(str(train.file), None, f"class {label} has no training image, expected classes 0 to {num_classes - 1}")
        for label in absent
    ]
    yield from shown(wrong, str(train.file), "classes have no training image")


def _other_counts(published: ListedSet, parts: Mapping[Part, ListedImages]) -> Iterator[Problem]:
    hint = "get the published lists, or write counts: listed to study other ones"
    train_counts = published_class_counts(published.name)
    for name, part in parts.items():
        expected = train_counts if name == "train" else (published.per_class[name],) * len(train_counts)
        found = np.bincount(part.labels, minlength=len(expected)).tolist()
        wrong = [
            Problem(
                str(part.file),
                None,
                f"class {label} differs from the published set: found {found[label]} images, expected {count}",
                hint,
            )
            for label, count in enumerate(expected)
            if found[label] != count
        ]
        yield from shown(wrong, str(part.file), "classes differ from the published set")


def _find(listing: Listing, images: Sequence[tuple[str, str]]) -> list[str | None]:
    root = str(listing.root)
    locations = listing.published.locations
    return [
        next((place for place in locations(path, name) if os.path.isfile(f"{root}/{place}")), None)  # noqa: PTH113
        for path, name in images
    ]


def _missing(listing: Listing, found: Sequence[str | None]) -> Iterator[Problem]:
    start = 0
    for part in listing.parts.values():
        absent = [index for index in range(len(part)) if found[start + index] is None]
        start += len(part)
        wrong = []
        for index in absent[: _SHOWN + 1]:  # one more, so that `shown` knows of the rest
            path = part.paths[index]
            places = listing.published.locations(path, listing.class_names[part.labels[index]])
            also = f" (nor as {' or '.join(places[1:])})" if places[1:] else ""
            wrong.append(part.problem(index, f"image does not exist: {listing.root / path}{also}"))
        yield from shown(wrong, str(part.file), f"of {len(part)} images do not exist", total=len(absent))
