"""Trials of a study and the images that they see, as one file to take to a machine that has neither.

Images are kept as lossless WebP, so the pixels, and with them the trial keys, are those of the source. Three seeds of
CIFAR-100-LT at imbalance factors of 50 and more, with validation and test images, are 62 MiB; one at 100 is 39 MiB.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccar.data.image_set import ImageSet, SourceData
from ccar.data.long_tail import split_long_tailed
from ccar.training.config import TrialConfig


@dataclass(frozen=True)
class TrialPack:
    """The trials in the order in which they are to be trained; of the training images, those that none sees are 0."""

    trials: tuple[TrialConfig, ...]
    source: SourceData


def write_pack(path: Path, trials: Sequence[TrialConfig], source: SourceData) -> None:
    """Write the file. The images must have three channels, and all one size."""
    labels = source.train.labels
    splits = [split_long_tailed(labels, trial.data, trial.seed) for trial in trials]
    seen = np.unique(np.concatenate([part for split in splits for part in (split.train, split.validation)]))
    images = [source.train.pixels[seen], source.test.pixels]
    with ThreadPoolExecutor() as pool:
        encoded = list(pool.map(_encoded, (image for part in images for image in part)))
    about = {
        "trials": [_without_places(trial).model_dump(mode="json") for trial in trials],
        "class_names": source.class_names,
        "fingerprint": source.fingerprint,
        "pixels": _digest(images),
    }
    with path.open("wb") as file:
        np.savez(
            file,
            about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
            images=np.frombuffer(b"".join(encoded), dtype=np.uint8),
            sizes=np.array([len(image) for image in encoded]),
            train_labels=labels,
            seen=seen,
            test_labels=source.test.labels,
        )


def read_pack(path: Path) -> TrialPack:
    """Read the file, and compare every pixel with its digest.

    Raises:
        ValueError: the pixels are not those that were packed.
    """
    with np.load(path) as content:
        about = json.loads(content["about"].tobytes())
        ends = np.cumsum(content["sizes"])
        parts = np.split(content["images"], ends[:-1])
        labels, seen, test_labels = content["train_labels"], content["seen"], content["test_labels"]
    with ThreadPoolExecutor() as pool:
        images = np.stack(list(pool.map(_decoded, parts)))
    trained, test = images[: len(seen)], images[len(seen) :]
    if _digest([trained, test]) != about["pixels"]:
        raise ValueError(f"{path} is damaged: its pixels are not those that were packed")
    train = np.zeros((len(labels), *images.shape[1:]), dtype=np.uint8)
    train[seen] = trained
    return TrialPack(
        tuple(TrialConfig.model_validate(trial) for trial in about["trials"]),
        # The fingerprint of the whole source, of which this is what the trials see.
        SourceData(
            ImageSet(train, labels), ImageSet(test, test_labels), tuple(about["class_names"]), about["fingerprint"]
        ),
    )


def _without_places(trial: TrialConfig) -> TrialConfig:
    return trial.model_copy(update={"data": trial.data.model_copy(update={"root": None, "download": False})})


def _encoded(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def _decoded(content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content.tobytes())).convert("RGB")).transpose(2, 0, 1)


def _digest(parts: Sequence[NDArray[np.uint8]]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
