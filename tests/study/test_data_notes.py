"""What is said about images with which nothing is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from ccar.study.definition import load_study
from ccar.study.expansion import load_data
from tests.data.folders import write_image


@pytest.fixture
def pets(tmp_path):
    """Two classes of three images in each part."""
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            for index in range(3):
                pixels = np.full((4, 4, 3), index, dtype=np.uint8)
                write_image(tmp_path / "pets" / part / name / f"{index}.png", pixels)
    return tmp_path / "pets"


@pytest.fixture
def mentioned(study_file, pets, tmp_path, caplog):
    """What is said when the pets are loaded, again and again into one cache."""
    study = load_study(study_file(("name: digits", f"name: image_folder\n  root: {pets}")))

    def load() -> list[str]:
        caplog.clear()
        load_data(study, tmp_path / "cache")
        return caplog.messages

    return load


def test_ignored_files_are_mentioned_each_time_and_once(mentioned, pets):
    (pets / "train" / "cat" / "0.bmp").touch()
    first = mentioned()
    assert first == [f"ignored 1 file that is not PNG, JPEG or WebP: {pets}/train/cat/0.bmp"]
    assert mentioned() == first


def test_files_that_are_put_into_a_folder_already_read_are_mentioned(mentioned, pets):
    assert mentioned() == []
    for index in range(30):
        (pets / "train" / "dog" / f"{index:02}.bmp").touch()
    assert mentioned() == [f"ignored 30 files that are not PNG, JPEG or WebP, such as {pets}/train/dog/00.bmp"]
