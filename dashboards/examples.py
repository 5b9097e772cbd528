"""Images of a few classes, small enough to stand inside of a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccar.data.config import DataConfig
from ccar.data.sources import open_source

NUM_IMAGES = 4  # of a class
_LONGEST_SIDE = 64  # pixels


@dataclass(frozen=True, slots=True)
class Examples:
    """Of one class: its name, and PNG images as data URIs."""

    name: str
    images: tuple[str, ...]


@lru_cache(maxsize=32)  # what is not at hand is looked for again: errors are not remembered
def examples(data: DataConfig, cache_dir: Path, labels: tuple[int, ...]) -> tuple[Examples, ...]:
    """The first training images of each of these classes, before a tail is cut.

    Args:
        data: as the study names it.
        cache_dir: of decoded images; nothing else is opened.
        labels: of the classes.

    Raises:
        DataError: the images are not at hand.
    """
    source = open_source(data, cache_dir)
    found = []
    for label in labels:
        images = source.train.pixels[np.flatnonzero(source.train.labels == label)[:NUM_IMAGES]]
        found.append(Examples(source.class_names[label], tuple(map(_data_uri, images))))
    return tuple(found)


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    channels_last = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    image = Image.fromarray(channels_last[..., 0] if channels_last.shape[2] == 1 else channels_last)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    written = io.BytesIO()
    image.save(written, "PNG")
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
