"""What is said about images with which nothing is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from ccar.data.image_set import ImageSet, SourceData
from ccar.study.data_notes import coarse_validation
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


@pytest.fixture
def note(study_file, ten_classes):
    """The note on ten classes, with pieces of the study's text replaced."""

    def found(*replacements):
        return coarse_validation(load_study(study_file(*replacements)), ten_classes)

    return found


def test_fewer_than_fifty_validation_images_are_too_coarse_to_choose_omega_on(note):
    assert note(("per_class: 5", "per_class: 4")) == (
        "40 validation images: accuracy moves in steps of 2.5 points; omega cannot be chosen on them"
    )
    assert note() is None  # 50


def test_nothing_is_noted_where_no_omega_is_chosen(note):
    grid = "  reweighting:\n    omega: [0.5, 0.75]\n    frequency: fraction\n"
    assert note(("per_class: 5", "per_class: 1"), (grid, "")) is None
    assert note(("per_class: 5", "per_class: 0")) is None


def test_a_search_chooses_omega_too(note):
    search = "search: {algorithm: random, num_samples: 5, omega: [0.1, 1.0]}"
    grid, seeds = "omega: [0.5, 0.75]\n    ", "seeds: [0, 1]"
    assert note(("per_class: 5", "per_class: 1"), (grid, ""), (seeds, f"{search}\n{seeds}")).startswith("10 validation")


def test_the_validation_images_that_a_set_comes_with_are_counted(study_file, ten_classes):
    path = study_file(
        ("name: digits", "name: places_lt\n  root: /images"), ("[10, 50]", "natural"), ("class: 5", "class: own")
    )
    study = load_study(path)
    own = ImageSet(ten_classes.train.images[:20], ten_classes.train.labels[:20])
    with_own = SourceData(ten_classes.train, ten_classes.test, ten_classes.class_names, "", own)
    assert coarse_validation(study, with_own) == (
        "20 validation images: accuracy moves in steps of 5.0 points; omega cannot be chosen on them"
    )
