from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ccar.data.image_folder import list_images
from ccar.data.long_tail import long_tailed_counts, split_long_tailed
from ccar.data.sources import load_source, open_source
from ccar.errors import DataError
from tests.data.folders import data_config, write_image


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("image_folder", {}, "image_folder needs a root"),
        ("digits", {"root": Path("x")}, "digits comes with scikit-learn and has no root: found x"),
        ("digits", {"download": True}, "download is for cifar10 and cifar100: digits downloads nothing"),
        (
            "cifar10",
            {"image_size": 32},
            "image_size is for image_folder and sets that come as lists: images of cifar10 have one size",
        ),
        ("imagenet_lt", {}, "imagenet_lt needs a root"),
        ("places_lt", {"root": Path("x"), "download": True}, "places_lt downloads nothing"),
        ("cifar100", {"lists": Path("x")}, "lists is for imagenet_lt, .*: cifar100 does not come as lists"),
        ("digits", {"counts": "listed"}, "counts is for imagenet_lt, .*: digits does not come as lists"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(name, options, problem, tmp_path):
    with pytest.raises(DataError, match=problem):
        load_source(data_config(name, **options), tmp_path)


def test_all_wrong_options_are_told_at_once(tmp_path):
    with pytest.raises(DataError) as caught:
        load_source(data_config("digits", root=Path("x"), download=True, image_size=8), tmp_path)
    assert len(caught.value.problems) == 3


OPEN_DIGITS = """
import sys
from pathlib import Path
from ccar.data.config import DataConfig
from ccar.data.sources import load_source, open_source

load_source(DataConfig(name="digits", imbalance_factor=1, validation_per_class=0), Path(sys.argv[1]))
print(sorted({"torch", "torchvision", "sklearn", "PIL", "pandas"} & sys.modules.keys()))
"""


def test_opening_a_cache_imports_nothing_slow(tmp_path):
    load_source(data_config("digits"), tmp_path)
    opened = subprocess.run([sys.executable, "-c", OPEN_DIGITS, tmp_path], check=True, capture_output=True, text=True)
    assert opened.stdout.strip() == "[]"


def test_a_changed_pixel_in_the_cache_is_found_when_asked_to_verify(tmp_path):
    fingerprint = load_source(data_config("digits"), tmp_path).fingerprint
    (path,) = tmp_path.glob("digits-*/test_images.npy")
    images = np.load(path, mmap_mode="r+")
    images[0, 0, 0, 0] += 1
    images.flush()
    assert load_source(data_config("digits"), tmp_path).test.images[0, 0, 0, 0] == images[0, 0, 0, 0]
    verified = load_source(data_config("digits"), tmp_path, verify=True)
    assert verified.fingerprint == fingerprint
    assert verified.test.images[0, 0, 0, 0] == images[0, 0, 0, 0] - 1


needs_cifar100 = pytest.mark.skipif(
    "CCAR_CIFAR100_ROOT" not in os.environ,
    reason="set CCAR_CIFAR100_ROOT to a folder with CIFAR-100 as train/<class>/* and test/<class>/*",
)


@needs_cifar100
def test_the_real_cifar100_is_complete():
    listing = list_images(Path(os.environ["CCAR_CIFAR100_ROOT"]))
    assert len(listing.class_names) == 100
    assert {len(images) for images in listing.files["train"].values()} == {500}
    assert {len(images) for images in listing.files["test"].values()} == {100}


@needs_cifar100
def test_ten_real_classes_make_a_long_tail(tmp_path):
    """Ten of them, so that decoding takes a second."""
    real = Path(os.environ["CCAR_CIFAR100_ROOT"])
    for part in ("train", "test"):
        (tmp_path / "ten" / part).mkdir(parents=True)
        for folder in sorted((real / part).iterdir())[:10]:
            (tmp_path / "ten" / part / folder.name).symlink_to(folder)
    data = data_config(root=tmp_path / "ten", imbalance_factor=100, validation_per_class=50)
    source = load_source(data, tmp_path / "cache")
    assert source.class_names[:3] == ("apple", "aquarium_fish", "baby")
    assert source.train.images.shape == (5_000, 3, 32, 32)
    assert source.test.images.shape == (1_000, 3, 32, 32)
    split = split_long_tailed(source.train.labels, data, seed=0)
    assert split.class_counts == tuple(long_tailed_counts(450, 100, 10))
    assert len(split.validation) == 500


def test_what_was_decoded_is_at_hand_and_what_was_not_stays_so(tmp_path):
    digits, absent = data_config("digits"), data_config("cifar10", download=True)
    at_hand = open_source(digits, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    decoded = load_source(digits, tmp_path / "cache")
    assert open_source(digits, tmp_path / "cache").fingerprint == at_hand.fingerprint == decoded.fingerprint
    with pytest.raises(DataError, match="cifar10 is not in"):
        open_source(absent, tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_a_folder_of_images_is_at_hand_once_it_was_decoded(tmp_path):
    for place in ("train/cat/0.png", "train/dog/0.png", "test/cat/0.png", "test/dog/0.png"):
        write_image(tmp_path / "images" / place, np.zeros((4, 4, 3), np.uint8))
    data = data_config("image_folder", root=tmp_path / "images")
    with pytest.raises(DataError, match="not decoded here"):
        open_source(data, tmp_path / "cache")
    decoded = load_source(data, tmp_path / "cache")
    assert open_source(data, tmp_path / "cache").fingerprint == decoded.fingerprint
