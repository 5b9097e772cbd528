"""Image folders in which something is wrong: refused by `ccar run` before anything is begun."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_commands import ccar
from tests.data.folders import write_image

STUDY = """\
study: pets
question: Is it a cat?
data: {name: image_folder, root: images, imbalance_factors: 2, validation_per_class: 1}
model: small_cnn
recipe: {name: digits_quick, epochs: 2}
methods: {bases: [cross_entropy]}
seeds: [0]
baseline: cross_entropy
"""


def empty_class(images: Path) -> Path:
    shutil.rmtree(images / "train" / "cat")
    (images / "train" / "cat").mkdir()
    return images / "train" / "cat"


def unreadable_image(images: Path) -> Path:
    (images / "test" / "dog" / "1.png").write_bytes(b"no image")
    return images / "test" / "dog" / "1.png"


def class_to_test_alone(images: Path) -> Path:
    shutil.copytree(images / "test" / "dog", images / "test" / "fox")
    return images / "test"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A study of two classes with four images in each part, and nothing beside it."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            for index in range(4):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                write_image(tmp_path / "images" / part / name / f"{index}.png", pixels)
    (tmp_path / "pets.yaml").write_text(STUDY)
    return tmp_path


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty_class, "class folder {} holds no image: found none, expected PNG, JPEG or WebP files"),
        (unreadable_image, "cannot read image {}: found "),
        (class_to_test_alone, "class 'fox' of {} has no folder: found none in "),
    ],
)
def test_an_image_folder_with_a_fault_is_refused_and_nothing_is_created(pets, tmp_path_factory, spoil, message):
    fault = spoil(pets / "images")
    before = sorted(pets.rglob("*"))
    cache = tmp_path_factory.mktemp("cache")  # what was decoded may be kept there: it is none of the run's
    begun = time.monotonic()
    code, out, err = ccar("run", "pets.yaml", cwd=pets, CCAR_CACHE=str(cache))
    assert time.monotonic() - begun < 10  # measured: 1.4 s on a busy machine; a hang would be a minute
    assert (code, out) == (2, "")
    line, hint = err.splitlines()
    assert line.startswith(f"pets.yaml:3: {message.format(fault)}")
    assert hint.startswith("  hint: ")
    assert sorted(pets.rglob("*")) == before  # neither a store nor MLflow's folder nor a report
