"""CIFAR as torchvision reads it, on tiny files in its format; nothing is downloaded from anywhere."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from torchvision import datasets

from ccar.data.cifar import check_listing
from ccar.data.image_folder import ImageFile, Listing
from ccar.data.sources import load_source
from ccar.errors import DataError
from tests.data.folders import data_config, write_image

CLASSES = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}


def write_files(name: str, root: Path) -> None:
    """Ten images per file, in the layout of the real ones."""
    dataset = CLASSES[name]
    folder = root / dataset.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    label_key = "labels" if name == "cifar10" else "fine_labels"
    for file, _ in dataset.train_list + dataset.test_list:
        entry = {
            "data": rng.integers(0, 256, (10, 3072), dtype=np.uint8),
            label_key: rng.permutation(10).tolist(),
        }
        (folder / file).write_bytes(pickle.dumps(entry))
    names = {dataset.meta["key"]: [f"class {label}" for label in range(10)]}
    (folder / dataset.meta["filename"]).write_bytes(pickle.dumps(names))


@pytest.fixture(params=CLASSES)
def tiny_cifar(request, tmp_path, monkeypatch) -> tuple[str, Path]:
    """Name and root; torchvision expects the checksums of the tiny files."""
    name, root = request.param, tmp_path / "root"
    write_files(name, root)
    dataset = CLASSES[name]

    def md5(file: str) -> str:
        return hashlib.md5((root / dataset.base_folder / file).read_bytes()).hexdigest()

    for which in ("train_list", "test_list"):
        monkeypatch.setattr(dataset, which, [[file, md5(file)] for file, _ in getattr(dataset, which)])
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5(dataset.meta["filename"])})
    return name, root


def test_images_and_labels_are_those_of_the_files(tiny_cifar, tmp_path):
    name, root = tiny_cifar
    source = load_source(data_config(name, root=root), tmp_path / "cache")
    assert source.class_names == tuple(f"class {label}" for label in range(10))
    folder = root / CLASSES[name].base_folder
    label_key = "labels" if name == "cifar10" else "fine_labels"
    for part, files in ((source.train, CLASSES[name].train_list), (source.test, CLASSES[name].test_list)):
        entries = [pickle.loads((folder / file).read_bytes()) for file, _ in files]
        pixels = np.concatenate([entry["data"] for entry in entries])
        assert (part.images.reshape(len(pixels), 3072) == pixels).all()
        assert part.labels.tolist() == [label for entry in entries for label in entry[label_key]]
        assert part.images.shape[1:] == (3, 32, 32)


def test_the_second_time_the_files_are_not_read(tiny_cifar, tmp_path, monkeypatch):
    name, root = tiny_cifar
    first = load_source(data_config(name, root=root), tmp_path / "cache")
    monkeypatch.setattr("ccar.data.cifar.decode", lambda *_: pytest.fail("decoded twice"))
    assert load_source(data_config(name, root=root), tmp_path / "cache").fingerprint == first.fingerprint


def test_a_changed_file_is_refused_by_its_checksum(tiny_cifar, tmp_path):
    name, root = tiny_cifar
    load_source(data_config(name, root=root), tmp_path / "cache")
    folder = root / CLASSES[name].base_folder
    (folder / CLASSES[name].test_list[0][0]).write_bytes(b"changed")
    with pytest.raises(DataError, match=f"the files in {folder} are damaged or changed") as caught:
        load_source(data_config(name, root=root), tmp_path / "cache")
    assert "download: true" in caught.value.hint


@pytest.mark.parametrize("name", CLASSES)
def test_missing_files_are_named_and_the_hint_says_what_to_do(name, tmp_path):
    with pytest.raises(
        DataError, match=f"{name} is not in {tmp_path}: expected {CLASSES[name].base_folder}/"
    ) as caught:
        load_source(data_config(name, root=tmp_path), tmp_path / "cache")
    assert "set download: true" in caught.value.hint


def test_a_folder_of_all_images_is_taken_for_the_data_set():
    classes = {f"class {label:03d}": [ImageFile("x", 1, 1)] for label in range(100)}
    files = {"train": {name: 500 * images for name, images in classes.items()}}
    check_listing("cifar100", Listing(Path("x"), {**files, "test": {n: 100 * i for n, i in classes.items()}}, ()))
    with pytest.raises(DataError, match="are not cifar100: expected 100 classes with 500 images each in train/ and"):
        check_listing("cifar100", Listing(Path("x"), {**files, "test": classes}, ()))


def test_a_folder_with_a_part_of_the_images_is_not(tmp_path):
    for part in ("train", "test"):
        for name in ("apple", "pear"):
            write_image(tmp_path / part / name / "1.png", np.zeros((32, 32, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"found 2 classes, 2 images in train/ and 2 in test/") as caught:
        load_source(data_config("cifar100", root=tmp_path), tmp_path / "cache")
    assert "name: image_folder" in caught.value.hint


@pytest.fixture
def download_site(tmp_path) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which it is served over HTTP, on loopback."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = partial(QuietHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def tiny_archive(tiny_cifar, download_site, monkeypatch) -> tuple[str, Path]:
    """Name of the data set and its archive, which torchvision believes to be the original."""
    name, root = tiny_cifar
    dataset, (folder, address) = CLASSES[name], download_site
    archive = folder / dataset.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / dataset.base_folder, dataset.base_folder)
    monkeypatch.setattr(dataset, "url", f"{address}/{archive.name}")
    monkeypatch.setattr(dataset, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return name, archive


def test_a_download_is_unpacked_and_used(tiny_cifar, tiny_archive, tmp_path):
    name, root = tiny_cifar
    downloaded = load_source(data_config(name, download=True), tmp_path / "cache")
    assert downloaded.fingerprint == load_source(data_config(name, root=root), tmp_path / "other").fingerprint
    assert (tmp_path / "cache" / "downloads" / CLASSES[name].base_folder).is_dir()


def test_a_download_that_was_cut_short_is_refused(tiny_archive, tmp_path):
    name, archive = tiny_archive
    archive.write_bytes(archive.read_bytes()[:-10])
    with pytest.raises(DataError, match=f"cannot download {name} into "):
        load_source(data_config(name, download=True), tmp_path / "cache")


@pytest.mark.parametrize("name", CLASSES)
def test_a_download_without_a_network_says_why_and_what_else_to_do(name, tmp_path, monkeypatch):
    monkeypatch.setattr(CLASSES[name], "url", "http://127.0.0.1:1/nobody-listens")
    with pytest.raises(DataError, match=rf"cannot download {name} into .*Connection refused") as caught:
        load_source(data_config(name, download=True), tmp_path / "cache")
    assert CLASSES[name].base_folder in caught.value.hint
