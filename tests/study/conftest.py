"""A small valid study file, and images that a study can be planned for without decoding any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ccar.data.image_set import ImageSet, SourceData

VALID = """\
study: digits-lt
question: Which omega helps?
data:
  name: digits
  imbalance_factors: [10, 50]
  validation_per_class: 5
model: small_cnn
recipe: digits_quick
methods:
  bases: [cross_entropy, focal]
  reweighting:
    omega: [0.5, 0.75]
    frequency: fraction
seeds: [0, 1]
baseline: cross_entropy
"""


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes the valid study, with pieces of its text replaced: `study_file(("seeds: [0, 1]", "seeds: [0]"))`."""

    def write(*replacements: tuple[str, str]) -> Path:
        text = VALID
        for old, new in replacements:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "study.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def ten_classes() -> SourceData:
    """Ten classes of 120 training images, each one pixel: enough to cut tails from."""
    labels = np.repeat(np.arange(10), 120)
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    test = ImageSet(images[:10], np.arange(10))
    return SourceData.of(ImageSet(images, labels), test, tuple("abcdefghij"))
