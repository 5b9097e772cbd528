"""Packs of large images: made once, gone on with after any end, compared with their digests whenever they are read."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from ccar.data import packing
from ccar.data.listed_sets import LISTED_SETS, pack_state
from ccar.data.packed import RECORD, PackedImages, short_side_of
from ccar.data.sources import load_source
from ccar.errors import DataError, StudyFileError
from tests.data.folders import listed_config, write_image
from tests.data.miniature import WRITERS, write_imagenet_lt, write_inaturalist2018
from tests.data.test_cache import full_disk


def config(root: Path, name: str = "imagenet_lt", **fields):
    return listed_config(name, root, image_size=fields.pop("image_size", 28), **fields)


def folder_in(cache: Path) -> Path:
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    return folder


def all_images(source) -> np.ndarray:
    """(N, 28, 28, 3) the middle of every image of every part."""
    parts = []
    for part in (source.train, source.validation, source.test):
        if part is not None:
            out = np.empty((len(part), 28, 28, 3), np.uint8)
            part.images.read(part.images.middles, out)
            parts.append(out)
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> Path:
    """A miniature of ImageNet-LT that no test changes."""
    return write_imagenet_lt(tmp_path_factory.mktemp("imagenet"), num_classes=4, largest=20).root


@pytest.mark.parametrize("name", WRITERS)
def test_a_published_set_is_packed_once_and_opened_after_that(name, tmp_path):
    miniature = WRITERS[name](tmp_path / "images")
    data = config(tmp_path / "images", name)
    packed = load_source(data, tmp_path / "cache")
    assert tuple(np.bincount(packed.train.labels)) == miniature.class_counts
    assert (packed.validation is not None) == ("validation" in LISTED_SETS[name].files)
    for image in (tmp_path / "images").rglob("*.[jJ][pP]*"):
        image.unlink()  # the lists are read each time, the images never again
    opened = load_source(data, tmp_path / "cache", verify=True)
    assert opened.fingerprint == packed.fingerprint
    assert opened.class_names == packed.class_names
    assert (all_images(opened) == all_images(packed)).all()


def test_an_evaluated_image_is_what_torchvision_makes_of_the_original(imagenet, tmp_path):
    """Resize and CenterCrop as published; JPEG at quality 95 is what lies between the two."""
    source = load_source(config(imagenet), tmp_path)
    listed = (imagenet / "ImageNet_LT_test.txt").read_text().split()[::2]
    out = np.empty((len(listed), 28, 28, 3), np.uint8)
    source.test.images.read(source.test.images.middles, out)
    transform = v2.Compose([v2.Resize(short_side_of(28)), v2.CenterCrop(28)])
    for path, image in zip(listed, out, strict=True):
        with Image.open(imagenet / path) as original:
            expected = np.asarray(transform(original.convert("RGB")))
        assert np.abs(image.astype(int) - expected).mean() < 4  # grey levels of 255


def test_a_box_is_cut_and_resized_as_torchvision_does(imagenet, tmp_path):
    images = load_source(config(imagenet), tmp_path).train.images
    record = images.records[0]
    whole = Image.open(_bytes_of(images, 0))
    assert whole.size == (record["width"], record["height"])
    assert min(whole.size) == short_side_of(28) == 32
    out = np.empty((1, 28, 28, 3), np.uint8)
    images[:1].read(np.array([[3, 5, 20, 26]]), out)
    expected = v2.functional.resized_crop(whole, 3, 5, 20, 26, [28, 28])
    assert (out[0] == np.asarray(expected)).all()


def _bytes_of(images: PackedImages, index: int):
    import io

    record = images.records[index]
    return io.BytesIO(images.content[record["start"] : record["start"] + record["length"]].tobytes())


def test_protocol_sizes_are_256_and_224():
    assert short_side_of(224) == 256


@pytest.mark.parametrize("size", [(37, 50), (51, 37), (37, 37), (37, 90)])
def test_the_middle_is_where_torchvision_has_it(size):
    pixels = torch.arange(size[0] * size[1]).reshape(1, *size)
    record = np.zeros(1, RECORD)
    record["height"], record["width"] = size
    ((top, left, height, width),) = PackedImages(Path(), np.empty(0, np.uint8), record, 32).middles.tolist()
    assert (pixels[:, top : top + height, left : left + width] == v2.functional.center_crop(pixels, [32, 32])).all()


def test_the_fingerprint_is_of_the_images_wherever_they_lie(imagenet, tmp_path):
    shutil.copytree(imagenet, tmp_path / "elsewhere")
    here, there = (load_source(config(root), tmp_path / "cache") for root in (imagenet, tmp_path / "elsewhere"))
    assert here.fingerprint == there.fingerprint
    assert here.train.images.file != there.train.images.file


@pytest.mark.parametrize("change", ["image", "label", "size"])
def test_the_fingerprint_tells_any_change(imagenet, tmp_path, change):
    shutil.copytree(imagenet, tmp_path / "changed")
    fields = {}
    listed = tmp_path / "changed" / "ImageNet_LT_test.txt"
    if change == "image":
        write_image(tmp_path / "changed" / listed.read_text().split()[0], np.full((40, 40, 3), 9, np.uint8))
    elif change == "label":
        first, *rest = listed.read_text().splitlines(keepends=True)
        listed.write_text("".join([first.replace(" 0\n", " 1\n"), *rest]))
    else:
        fields = {"image_size": 35}
    before = load_source(config(imagenet), tmp_path / "cache")
    after = load_source(config(tmp_path / "changed", **fields), tmp_path / "cache")
    assert before.fingerprint != after.fingerprint


# Runs in a process of its own and dies by SIGKILL at the n-th time that something is made safe on disk.
KILLED = """
import os, signal, sys
from pathlib import Path
from ccar.data import packing
from ccar.data.sources import load_source
from tests.data.folders import listed_config

packing._CHUNK = 4
packing._COMMIT_SECONDS = 0
left = int(sys.argv[3])
real_fsync = os.fsync

def fsync(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real_fsync(descriptor)

os.fsync = fsync
load_source(listed_config("imagenet_lt", Path(sys.argv[1]), image_size=28), Path(sys.argv[2]))
"""


@pytest.fixture
def packed_files(monkeypatch) -> list[Path]:
    """The image files that are packed from now on."""
    files: list[Path] = []
    pack_image = packing.pack_image

    def noting(path: Path, short_side: int):
        files.append(path)
        return pack_image(path, short_side)

    monkeypatch.setattr(packing, "pack_image", noting)
    return files


@pytest.mark.parametrize("step", [2, 3, 8])
def test_a_process_killed_half_way_is_gone_on_from_where_it_was(imagenet, tmp_path, packed_files, step):
    whole = load_source(config(imagenet), tmp_path / "whole")
    num_images = len(packed_files)
    packed_files.clear()
    killed = subprocess.run([sys.executable, "-c", KILLED, imagenet, tmp_path / "cache", str(step)], check=False)
    assert killed.returncode == -signal.SIGKILL
    folder = folder_in(tmp_path / "cache")
    assert not (folder / "meta.json").exists()
    state = pack_state(config(imagenet), tmp_path / "cache")
    resumed = load_source(config(imagenet), tmp_path / "cache")
    # The first write is of an empty table; then images and their records take turns, four at a time.
    assert len(packed_files) == num_images - 4 * max(0, (step - 1) // 2)
    assert state.num_packed >= num_images - len(packed_files)
    assert resumed.fingerprint == whole.fingerprint
    assert (all_images(resumed) == all_images(whole)).all()


def test_torn_records_and_bytes_that_changed_are_packed_again_and_no_others(imagenet, tmp_path, packed_files):
    source = load_source(config(imagenet), tmp_path)
    expected, fingerprint = all_images(source), source.fingerprint
    packed_files.clear()
    folder = folder_in(tmp_path)
    (folder / "meta.json").unlink()
    table, images = folder / "records.bin", folder / "images.bin"
    table.write_bytes(table.read_bytes()[:-7])  # the last record was not written to its end
    content = bytearray(images.read_bytes())
    content[int(source.train.images.records[3]["start"]) + 100] ^= 1
    images.write_bytes(content)
    mended = load_source(config(imagenet), tmp_path)
    assert len(packed_files) == 2
    assert mended.fingerprint == fingerprint
    assert (all_images(mended) == expected).all()


def test_a_changed_byte_is_found_when_its_image_is_read(imagenet, tmp_path):
    source = load_source(config(imagenet), tmp_path)
    record = source.train.images.records[3]
    with (folder_in(tmp_path) / "images.bin").open("r+b") as file:
        file.seek(int(record["start"]) + 200)
        file.write(b"\xff\x00\xff")
    images = load_source(config(imagenet), tmp_path).train.images
    out = np.empty((1, 28, 28, 3), np.uint8)
    images[2:3].read(images[2:3].middles, out)
    with pytest.raises(DataError, match=r"images.bin is damaged: image 3 is not what was packed") as caught:
        images[3:4].read(images[3:4].middles, out)
    assert "meta.json" in (caught.value.hint or "")


@pytest.mark.parametrize("file", ["meta.json", "records.bin", "train_labels.bin", "images.bin"])
def test_a_damaged_pack_is_noticed_when_it_is_opened_and_mended(imagenet, tmp_path, caplog, file):
    fingerprint = load_source(config(imagenet), tmp_path).fingerprint
    path = folder_in(tmp_path) / file
    path.write_bytes(path.read_bytes()[:-1])
    assert load_source(config(imagenet), tmp_path).fingerprint == fingerprint
    assert "is damaged" in caplog.text


def test_processes_that_need_the_same_images_pack_them_once(imagenet, tmp_path, packed_files):
    with ThreadPoolExecutor(4) as pool:
        sources = list(pool.map(lambda _: load_source(config(imagenet), tmp_path), range(4)))
    assert len(packed_files) == len(set(packed_files))
    assert len({source.fingerprint for source in sources}) == 1


def test_unreadable_images_are_told_with_their_lines_and_the_others_are_kept(imagenet, tmp_path, packed_files):
    shutil.copytree(imagenet, tmp_path / "images")
    file = tmp_path / "images" / "ImageNet_LT_train.txt"
    listed = file.read_text().split()[::2]
    for path in (listed[2], listed[5]):
        (tmp_path / "images" / path).write_bytes(b"no image")
    with pytest.raises(StudyFileError) as caught:
        load_source(config(tmp_path / "images"), tmp_path / "cache")
    reason = "not a PNG, JPEG or WebP image"
    assert [str(problem) for problem in caught.value.problems] == [
        f"{file}:{line}: cannot read image {tmp_path / 'images' / listed[line - 1]}: {reason}" for line in (3, 6)
    ]
    for path in (listed[2], listed[5]):
        shutil.copy(imagenet / path, tmp_path / "images" / path)
    packed_files.clear()
    mended = load_source(config(tmp_path / "images"), tmp_path / "cache")
    assert len(packed_files) == 2
    assert mended.fingerprint == load_source(config(imagenet), tmp_path / "cache").fingerprint


def test_missing_images_stop_a_pack_before_it_is_begun(imagenet, tmp_path, packed_files):
    shutil.copytree(imagenet, tmp_path / "images")
    (tmp_path / "images" / (imagenet / "ImageNet_LT_val.txt").read_text().split()[0]).unlink()
    with pytest.raises(StudyFileError, match=r"ImageNet_LT_val.txt:1: image does not exist"):
        load_source(config(tmp_path / "images"), tmp_path / "cache")
    assert not packed_files


def test_a_full_disk_is_explained_and_what_was_packed_is_kept(imagenet, tmp_path, packed_files, monkeypatch):
    monkeypatch.setattr(packing, "_CHUNK", 4)
    monkeypatch.setattr(packing, "_COMMIT_SECONDS", 0)
    with full_disk(20_000), pytest.raises(DataError, match="cannot keep decoded images"):
        load_source(config(imagenet), tmp_path)
    before = len(set(packed_files))
    packed_files.clear()
    load_source(config(imagenet), tmp_path)
    assert 0 < len(packed_files) < before + len(packed_files)


def test_the_size_is_known_before_anything_is_packed(tmp_path):
    write_inaturalist2018(tmp_path / "images")
    data = config(tmp_path / "images", "inaturalist2018")
    expected = pack_state(data, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    load_source(data, tmp_path / "cache")
    found = pack_state(data, tmp_path / "cache")
    assert not expected.is_ready
    assert found.is_ready
    assert found.num_images == expected.num_images
    assert expected.num_bytes == pytest.approx(found.num_bytes, rel=0.2)
    assert expected.seconds > found.seconds == 0


def test_long_packing_is_logged(imagenet, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(packing, "_LOG_SECONDS", 0)
    load_source(config(imagenet), tmp_path)
    assert "packing 50 images into" in caplog.text
    assert "packed 50 of 50 images" in caplog.text
