"""Image folders for tests, and how to ask for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ccar.data.config import DataConfig


def write_image(path: Path, pixels: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def data_config(name: str = "image_folder", **fields) -> DataConfig:
    return DataConfig(name=name, **{"imbalance_factor": 1, "validation_per_class": 0, **fields})


def listed_config(name: str, root: Path, **fields) -> DataConfig:
    """A published set whose lists are miniatures of the published ones."""
    return data_config(name, root=root, **{"imbalance_factor": "natural", "counts": "listed", **fields})
