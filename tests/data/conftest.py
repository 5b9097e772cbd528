from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.data.draws import generator
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


@pytest.fixture
def photos() -> torch.Tensor:
    """(64, 3, 32, 32): smooth random colours with every grey level, no two pixels of a row alike."""
    coarse = torch.rand(64, 3, 5, 5, generator=generator(1)) * 255
    return F.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 255).to(torch.uint8)
