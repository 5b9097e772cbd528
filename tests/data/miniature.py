"""Miniatures of the published sets: their folders, lists and shape of the tail, on real images where there are some.

With CCAR_CIFAR100_ROOT (CIFAR-100 as train/<class>/* and test/<class>/*) the images are its first classes; else each
class is a colourful texture of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from ccar.data.class_counts import PublishedTail, published_class_counts

NUM_CLASSES = 10
LARGEST = 60  # training images of the largest class
SIZES = ((48, 40), (40, 56), (44, 44))  # width and height in pixels, in turn


@dataclass(frozen=True)
class Miniature:
    """Where one was written, and how many training images each class has."""

    root: Path
    class_counts: tuple[int, ...]


def scaled_counts(name: PublishedTail, num_classes: int = NUM_CLASSES, largest: int = LARGEST) -> tuple[int, ...]:
    """Training images per class: published classes from the largest to the smallest at even steps, scaled down."""
    published = sorted(published_class_counts(name), reverse=True)
    chosen = [published[round(rank)] for rank in np.linspace(0, len(published) - 1, num_classes)]
    return tuple(max(2, round(n * largest / published[0])) for n in chosen)


def write_imagenet_lt(
    root: Path,
    *,
    listed_by_class: bool = True,
    stored_by_class: bool = True,
    line_end: str = "\n",
    per_class: tuple[int, int] = (2, 4),
    num_classes: int = NUM_CLASSES,
    largest: int = LARGEST,
) -> Miniature:
    """ImageNet-LT; its test images lie in classes or in one folder, and its list has them in either form."""
    counts = scaled_counts("imagenet_lt", num_classes, largest)
    num_validation, num_test = per_class
    numbers = count(1)
    train, validation, test, files = [], [], [], []
    for label, images in enumerate(images_of_classes(num_classes)):
        wnid = f"n{1440764 + label:08d}"
        for number in range(counts[label] + num_validation):
            path = f"train/{wnid}/{wnid}_{number}.JPEG"
            (train if number < counts[label] else validation).append((path, label))
            files.append((path, next(images)))
        for _ in range(num_test):
            file = f"ILSVRC2012_val_{next(numbers):08d}.JPEG"
            by_class, flat = f"val/{wnid}/{file}", f"val/{file}"
            test.append((by_class if listed_by_class else flat, label))
            files.append((by_class if stored_by_class else flat, next(images)))
    _write_images(root, files)
    for part, lines in (("train", train), ("val", validation), ("test", test)):
        write_list(root / f"ImageNet_LT_{part}.txt", lines, line_end)
    return Miniature(root, counts)


def write_places_lt(root: Path, *, listed_as_v2: bool = False, stored_as_v2: bool = False) -> Miniature:
    """Places-LT in either of its two forms, and the lists in either."""
    counts = scaled_counts("places_lt", 4, 12)
    names = ["airfield", "arena/hockey", "arena/rodeo", "zen_garden"]
    numbers = count(1)
    train, validation, test, files = [], [], [], []
    for label, (name, images) in enumerate(zip(names, images_of_classes(4), strict=True)):
        for number in range(counts[label] + 1):
            forms = f"train/{name.replace('/', '-')}/{number:08d}.jpg", f"data_256/{name[0]}/{name}/{number:08d}.jpg"
            (train if number < counts[label] else validation).append((forms[listed_as_v2], label))
            files.append((forms[stored_as_v2], next(images)))
        for _ in range(2):
            file = f"Places365_val_{next(numbers):08d}.jpg"
            forms = f"val/{name.replace('/', '-')}/{file}", f"val_256/{file}"
            test.append((forms[listed_as_v2], label))
            files.append((forms[stored_as_v2], next(images)))
    _write_images(root, files)
    for part, lines in (("train", train), ("val", validation), ("test", test)):
        write_list(root / f"Places_LT_{part}.txt", lines)
    return Miniature(root, counts)


def write_inaturalist2018(
    root: Path, *, listed_in: str = "train_val2018", stored_in: str = "train_val2018", as_json: bool = False
) -> Miniature:
    """iNaturalist 2018; `stored_in` 2018 is how torchvision keeps it. Lists as text or as annotations."""
    counts = scaled_counts("inaturalist2018")
    train, test, files = [], [], []
    for label, images in enumerate(images_of_classes(NUM_CLASSES)):
        kingdom = ("Plantae", "Aves")[label % 2]
        for number in range(counts[label] + 3):
            below = f"{kingdom}/{label}/{label * 1000 + number:032x}.jpg"
            (train if number < counts[label] else test).append((f"{listed_in}/{below}", label))
            files.append((f"{stored_in}/{below}", next(images)))
    _write_images(root, files)
    for part, lines in (("train", train), ("val", test)):
        if as_json:
            write_annotations(root / f"{part}2018.json", lines)
        else:
            write_list(root / f"iNaturalist18_{part}.txt", lines)
    return Miniature(root, counts)


WRITERS: dict[PublishedTail, Callable[[Path], Miniature]] = {
    "imagenet_lt": write_imagenet_lt,
    "inaturalist2018": write_inaturalist2018,
    "places_lt": write_places_lt,
}


def write_list(file: Path, lines: list[tuple[str, int]], line_end: str = "\n") -> None:
    file.write_bytes("".join(f"{path} {label}{line_end}" for path, label in lines).encode())


def write_annotations(file: Path, lines: list[tuple[str, int]]) -> None:
    """As the competition has them; the annotations in another order than the images."""
    images = [{"id": 7 + number, "file_name": path} for number, (path, _) in enumerate(lines)]
    annotations = [
        {"id": 7 + number, "image_id": 7 + number, "category_id": label} for number, (_, label) in enumerate(lines)
    ]
    file.write_text(json.dumps({"images": images, "annotations": annotations[::-1]}))


def images_of_classes(num_classes: int) -> Iterator[Iterator[Image.Image]]:
    """For each class endlessly many images, of which the first 500 differ."""
    root = os.environ.get("CCAR_CIFAR100_ROOT")
    folders = sorted((Path(root) / "train").iterdir())[:num_classes] if root else [None] * num_classes
    for label, folder in enumerate(folders):
        yield _textures(label) if folder is None else _real(folder)


def _real(folder: Path) -> Iterator[Image.Image]:
    files = sorted(folder.iterdir())
    for number in count():
        with Image.open(files[number % len(files)]) as image:
            yield image.convert("RGB").resize(SIZES[number % len(SIZES)])


def _textures(label: int) -> Iterator[Image.Image]:
    pattern = np.random.default_rng([label]).uniform(40, 215, (5, 5, 3))
    for number in count():
        rng = np.random.default_rng([label, number])
        small = (pattern + rng.normal(0, 30, pattern.shape)).clip(0, 255).astype(np.uint8)
        yield Image.fromarray(small).resize(SIZES[number % len(SIZES)], Image.Resampling.BICUBIC)


def _write_images(root: Path, files: list[tuple[str, Image.Image]]) -> None:
    for path, image in files:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / path, "JPEG", quality=90)
