from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from ccar.data.image_folder import list_images
from ccar.data.sources import load_source
from ccar.errors import DataError
from tests.data.folders import data_config, write_image


@pytest.fixture
def load(cats_and_dogs, tmp_path):
    """Load the image folder, with further options of DataConfig."""

    def load_folder(root: Path = cats_and_dogs, **options):
        return load_source(data_config(root=root, **options), tmp_path / "cache")

    return load_folder


def problems_of(load, **options) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        load(**options)
    return caught.value.problems


def test_labels_are_the_sorted_class_folders_and_images_are_sorted_by_name(cats_and_dogs, load):
    source = load()
    assert source.class_names == ("cat", "dog")
    for part, images in (("train", source.train), ("test", source.test)):
        paths = sorted((cats_and_dogs / part).glob("*/*.png"))
        assert images.labels.tolist() == [source.class_names.index(path.parent.name) for path in paths]
        expected = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path in paths])
        assert (images.images == expected).all()


@pytest.mark.parametrize(
    ("suffix", "options"), [(".PNG", {}), (".webp", {"lossless": True}), (".jpg", {}), (".jpeg", {})]
)
def test_png_jpeg_and_webp_are_read(cats_and_dogs, load, suffix, options):
    grey = np.full((5, 6, 3), 77, dtype=np.uint8)
    write_image(cats_and_dogs / "train" / "cat" / f"0{suffix}", grey, **options)
    images = load().train.images
    assert (images.reshape(len(images), -1) == 77).all(axis=1).sum() == 1


def test_grey_palette_and_transparent_images_become_rgb(cats_and_dogs, load):
    pixels = np.arange(30, dtype=np.uint8).reshape(5, 6) * 8
    grey = Image.fromarray(pixels)
    folder = cats_and_dogs / "train" / "cat"
    grey.save(folder / "grey.png")
    grey.convert("P").save(folder / "palette.png", transparency=bytes([0, 255]))
    grey.convert("RGBA").save(folder / "rgba.png")
    images = load().train.images
    same = (images == pixels).all(axis=(1, 2, 3))
    assert same.sum() == 3


def test_image_size_resizes_the_short_side_and_keeps_the_middle(cats_and_dogs, load):
    stripes = np.zeros((8, 24, 3), dtype=np.uint8)
    stripes[:, 8:16] = 200  # the middle square
    write_image(cats_and_dogs / "train" / "cat" / "0.png", stripes)
    source = load(image_size=4)
    assert source.train.images.shape == (10, 3, 4, 4)
    assert (source.train.images[0, :, :, 1:3] == 200).all()
    assert (source.train.images[0] >= 150).all()  # only the outermost columns see a little of the black


def test_every_option_and_every_change_of_a_file_gets_a_cache_of_its_own(cats_and_dogs, load):
    prints = {load().fingerprint, load(image_size=4).fingerprint}
    path = cats_and_dogs / "test" / "dog" / "0.png"
    status = path.stat()
    write_image(path, np.zeros((5, 6, 3), dtype=np.uint8))
    prints.add(load().fingerprint)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # its size alone has changed now
    prints.add(load().fingerprint)
    assert len(prints) == 3


def test_the_second_time_nothing_is_decoded(load, monkeypatch):
    first = load()
    monkeypatch.setattr("ccar.data.image_folder._decode_image", lambda *_: pytest.fail("decoded twice"))
    assert load().fingerprint == first.fingerprint


def test_the_same_images_elsewhere_have_the_same_fingerprint(cats_and_dogs, load, tmp_path):
    shutil.copytree(cats_and_dogs, tmp_path / "elsewhere")
    assert load(root=tmp_path / "elsewhere").fingerprint == load().fingerprint


def test_hidden_files_are_skipped_and_other_files_are_listed_as_ignored(cats_and_dogs, load):
    (cats_and_dogs / "train" / "cat" / ".hidden.png").touch()
    (cats_and_dogs / "train" / ".git").mkdir()
    (cats_and_dogs / "train" / "cat" / "notes.txt").touch()
    (cats_and_dogs / "train" / "readme.md").touch()
    assert len(load().train) == 10
    assert sorted(list_images(cats_and_dogs).ignored) == ["train/cat/notes.txt", "train/readme.md"]


def test_a_root_that_is_not_there_is_named(load, tmp_path):
    (problem,) = problems_of(load, root=tmp_path / "nowhere")
    assert problem.startswith(f"image folder {tmp_path / 'nowhere'} does not exist: expected ")


def test_a_root_that_is_a_file_is_named(cats_and_dogs, load):
    file = cats_and_dogs / "train" / "cat" / "0.png"
    assert f"{file} is not a folder" in problems_of(load, root=file)[0]


def test_missing_parts_are_both_named(load, tmp_path):
    (tmp_path / "empty").mkdir()
    first, second = problems_of(load, root=tmp_path / "empty")
    assert first.startswith(f"{tmp_path / 'empty' / 'train'} does not exist")
    assert second.startswith(f"{tmp_path / 'empty' / 'test'} does not exist")


def test_one_class_is_not_enough(cats_and_dogs, load):
    for part in ("train", "test"):
        shutil.rmtree(cats_and_dogs / part / "dog")
    (problem,) = problems_of(load)
    assert problem == f"{cats_and_dogs / 'train'} needs two or more class folders: found cat"


def test_all_independent_problems_are_told_at_once(cats_and_dogs, load):
    train, test = cats_and_dogs / "train", cats_and_dogs / "test"
    (train / "fish").mkdir()  # empty, and not in test
    (test / "dog").rename(test / "dogs")
    (train / "cat" / "1.png").write_bytes(b"not an image")
    (train / "cat" / "2.png").write_bytes((train / "cat" / "0.png").read_bytes()[:60])
    assert problems_of(load)[:4] == (
        f"class folder {train / 'fish'} holds no image: expected PNG, JPEG or WebP files",
        f"class 'dogs' of {test} has no folder in {train}; did you mean 'dog'?",
        f"class 'dog' of {train} has no folder in {test}; did you mean 'dogs'?",
        f"class 'fish' of {train} has no folder in {test}",
    )
    broken, truncated = problems_of(load)[4:]
    assert broken == f"cannot read image {train / 'cat' / '1.png'}: not a PNG, JPEG or WebP image"
    assert truncated.startswith(f"cannot read image {train / 'cat' / '2.png'}: ")


def test_an_image_with_another_format_inside_is_not_read(cats_and_dogs, load):
    path = cats_and_dogs / "train" / "cat" / "1.png"
    Image.new("RGB", (6, 5)).save(path, format="GIF")
    assert problems_of(load) == (f"cannot read image {path}: not a PNG, JPEG or WebP image",)


def test_sixteen_bit_images_are_refused_because_pillow_would_clip_them(cats_and_dogs, load):
    path = cats_and_dogs / "train" / "cat" / "1.png"
    write_image(path, np.full((5, 6), 3000, dtype=np.uint16))
    assert problems_of(load) == (f"cannot read image {path}: more than 8 bits per pixel; save it with 8 bits",)


def test_a_link_to_nowhere_is_an_unreadable_image(cats_and_dogs, load):
    path = cats_and_dogs / "train" / "cat" / "link.png"
    path.symlink_to("gone.png")
    assert problems_of(load) == (f"cannot read image {path}: No such file or directory",)


def test_the_first_ten_unreadable_images_are_named_and_all_are_counted(cats_and_dogs, load):
    for index in range(25):
        (cats_and_dogs / "train" / "dog" / f"x{index:02}.png").touch()
    problems = problems_of(load)
    assert len(problems) == 11
    assert "x09.png" in problems[9]
    assert problems[10] == "and 15 more images cannot be read (25 in all)"


def test_images_of_two_sizes_are_refused_with_an_example_of_each(cats_and_dogs, load):
    path = cats_and_dogs / "test" / "cat" / "1.png"
    write_image(path, np.zeros((7, 9, 3), dtype=np.uint8))
    first = cats_and_dogs / "train" / "cat" / "0.png"
    assert problems_of(load) == (
        f"images differ in size: {first} has 6x5, {path} has 9x7 pixels, 1 in all differ from the first; "
        "set image_size to bring them to one size",
    )
    assert len(load(image_size=5).test) == 4


def test_more_pixels_than_memory_are_refused_before_they_are_decoded(load, monkeypatch):
    class LittleMemory:
        available = 1000

    monkeypatch.setattr(psutil, "virtual_memory", LittleMemory)
    (problem,) = problems_of(load)
    assert problem.startswith("14 images of 6x5 pixels need 0.0 GB of memory")


def test_long_decoding_is_logged(load, monkeypatch, caplog):
    monkeypatch.setattr("ccar.data.image_folder._LOG_SECONDS", -1.0)
    monkeypatch.setattr("ccar.data.image_folder._CHUNK", 10)
    with caplog.at_level(logging.INFO):
        load()
    assert "decoded 10 of 14 images" in caplog.text
