from __future__ import annotations

import json
import logging
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ccar.data.cache import open_or_build
from ccar.data.image_set import ImageSet, SourceData
from ccar.errors import DataError


def small_source(seed: int = 0) -> SourceData:
    rng = np.random.default_rng(seed)
    train, test = (ImageSet(rng.integers(0, 256, (n, 1, 4, 5), dtype=np.uint8), rng.integers(0, 3, n)) for n in (30, 6))
    return SourceData.of(train, test, ("a", "b", "ç"))


class CountingBuild:
    """Builds `small_source` and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> SourceData:
        self.calls += 1
        return small_source()


def test_what_is_opened_is_what_was_built(tmp_path):
    built = small_source()
    open_or_build(tmp_path / "cache", lambda: built)
    opened = open_or_build(tmp_path / "cache", lambda: pytest.fail("built twice"), verify=True)
    assert opened.class_names == built.class_names
    assert opened.fingerprint == built.fingerprint
    for part in ("train", "test"):
        assert (getattr(opened, part).images == getattr(built, part).images).all()
        assert (getattr(opened, part).labels == getattr(built, part).labels).all()


def test_opened_images_are_a_read_only_memory_map(tmp_path):
    source = open_or_build(tmp_path / "cache", small_source)
    assert isinstance(source.train.images, np.memmap)
    for array in (source.train.images, source.train.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_fingerprint_tells_any_change_of_pixels_labels_shapes_or_names():
    base = small_source()
    pixels, labels = base.train.images.copy(), base.train.labels.copy()
    pixels[0, 0, 0, 0] ^= 1
    labels[0] = (labels[0] + 1) % 3
    reshaped = ImageSet(base.train.images.reshape(30, 1, 5, 4), base.train.labels)
    others = [
        SourceData.of(ImageSet(pixels, base.train.labels), base.test, base.class_names),
        SourceData.of(ImageSet(base.train.images, labels), base.test, base.class_names),
        SourceData.of(reshaped, base.test, base.class_names),
        SourceData.of(base.train, base.test, ("a", "c", "b")),
    ]
    assert len({source.fingerprint for source in [base, *others]}) == 5


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def fill_with_noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [shorten, empty, fill_with_noise, Path.unlink])
@pytest.mark.parametrize("file", ["meta.json", "train_images.npy", "train_labels.npy", "test_images.npy"])
def test_a_damaged_cache_is_noticed_when_it_is_opened_and_built_again(tmp_path, caplog, file, damage):
    build = CountingBuild()
    open_or_build(tmp_path / "cache", build)
    damage(tmp_path / "cache" / file)
    source = open_or_build(tmp_path / "cache", build)
    assert build.calls == 2
    assert "is damaged" in caplog.text
    assert (source.train.images == small_source().train.images).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "cache.lock"]


@pytest.mark.parametrize("key", ["class_names", "shapes", "fingerprint"])
def test_a_meta_file_without_one_of_its_keys_is_damage(tmp_path, key):
    build = CountingBuild()
    open_or_build(tmp_path / "cache", build)
    meta = json.loads((tmp_path / "cache" / "meta.json").read_text())
    del meta[key]
    (tmp_path / "cache" / "meta.json").write_text(json.dumps(meta))
    open_or_build(tmp_path / "cache", build)
    assert build.calls == 2


def test_one_changed_pixel_is_found_by_verification_and_mended(tmp_path):
    build = CountingBuild()
    open_or_build(tmp_path / "cache", build)
    images = np.load(tmp_path / "cache" / "train_images.npy", mmap_mode="r+")
    images[3, 0, 1, 1] ^= 255
    images.flush()
    open_or_build(tmp_path / "cache", build)
    assert build.calls == 1
    source = open_or_build(tmp_path / "cache", build, verify=True)
    assert build.calls == 2
    assert (source.train.images == small_source().train.images).all()


def test_processes_that_need_the_same_images_build_them_once(tmp_path):
    build = CountingBuild()
    with ThreadPoolExecutor(4) as pool:
        sources = list(pool.map(lambda _: open_or_build(tmp_path / "cache", build), range(4)))
    assert build.calls == 1
    assert len({source.fingerprint for source in sources}) == 1


def test_a_failing_build_leaves_nothing_and_the_next_one_works(tmp_path):
    def fails():
        raise DataError("no such images")

    with pytest.raises(DataError, match="no such images"):
        open_or_build(tmp_path / "cache", fails)
    assert not (tmp_path / "cache").exists()
    open_or_build(tmp_path / "cache", small_source)


# Runs in a process of its own and dies by SIGKILL at the n-th time that something is made safe on disk.
KILLED_BUILD = """
import os, signal, sys
from pathlib import Path
from ccar.data.cache import open_or_build
from tests.data.test_cache import small_source

left = int(sys.argv[2])
real_fsync = os.fsync

def fsync(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real_fsync(descriptor)

os.fsync = fsync
open_or_build(Path(sys.argv[1]), small_source)
"""


@pytest.mark.parametrize("step", [1, 3, 6, 7])
def test_a_build_killed_at_any_step_leaves_no_cache_or_a_whole_one(tmp_path, step):
    folder = tmp_path / "cache"
    killed = subprocess.run([sys.executable, "-c", KILLED_BUILD, folder, str(step)], check=False)
    assert killed.returncode == -signal.SIGKILL
    was_renamed = step == 7  # four arrays, meta.json, their folder; then the rename; then the folder above
    assert folder.exists() == was_renamed
    build = CountingBuild()
    assert open_or_build(folder, build, verify=True).fingerprint == small_source().fingerprint
    assert build.calls == (0 if was_renamed else 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "cache.lock"]


@contextmanager
def full_disk(num_bytes: int):
    """No file may grow beyond `num_bytes`: to the writer it looks like a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_explained_and_leaves_nothing(tmp_path):
    with (
        full_disk(500),
        pytest.raises(DataError, match=f"cannot keep decoded images in {tmp_path}") as caught,
    ):
        open_or_build(tmp_path / "cache", small_source)
    assert caught.value.hint is not None
    assert [path.name for path in tmp_path.iterdir()] == ["cache.lock"]


def test_a_cache_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot keep decoded images in .*file"):
        open_or_build(tmp_path / "file" / "cache", small_source)


def test_a_process_that_waits_for_another_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with ThreadPoolExecutor(1) as pool:

        def build_while_another_asks():
            other = pool.submit(open_or_build, tmp_path / "cache", small_source)
            while "waiting for another process" not in caplog.text:
                assert not other.done()
            others.append(other)
            return small_source()

        others = []
        open_or_build(tmp_path / "cache", build_while_another_asks)
        assert others[0].result().fingerprint == small_source().fingerprint
