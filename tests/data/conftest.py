from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.folders import write_image


@pytest.fixture
def cats_and_dogs(tmp_path: Path) -> Path:
    """An image folder: two classes of five training and two test images, 6 wide and 5 high, PNG."""
    rng = np.random.default_rng(0)
    for part, num_images in (("train", 5), ("test", 2)):
        for name in ("cat", "dog"):
            for index in range(num_images):
                pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
                write_image(tmp_path / "pets" / part / name / f"{index}.png", pixels)
    return tmp_path / "pets"
