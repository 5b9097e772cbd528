"""Make a pack of large images, or go on with one: every image is decoded once for all trials of a machine.

A pack is a folder. `images.bin` and `records.bin` grow while images are packed, and `meta.json`, which comes last,
makes a pack of them. Images are safe on disk before their records are, so whatever happens on the way, what the
records say can be trusted after one look, and the rest is packed by whoever comes next.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccar.data.cache import building, explained, folder_to_disk, to_disk
from ccar.data.decoding import why_unreadable
from ccar.data.image_set import ImageSet, SourceData
from ccar.data.listed import Part
from ccar.data.packed import RECORD, PackedImages, digest_of, fingerprint_of, pack_image, short_side_of
from ccar.machine import num_cpus

log = logging.getLogger(__name__)

_CHUNK = 64  # images that one thread packs at a time
_COMMIT_SECONDS = 2.0  # of work are lost at most when the machine goes down
_LOG_SECONDS = 5.0

Labels = Mapping[Part, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class _Meta:
    """What `meta.json` holds."""

    fingerprint: str
    class_names: tuple[str, ...]
    image_size: int
    parts: tuple[Part, ...]


def open_pack(folder: Path) -> SourceData | None:
    """What is packed in `folder`; None where there is no pack, or one that is damaged or not finished.

    Takes 0.2 s for half a million images: their fingerprint is verified here, each image when it is read.
    """
    if not (folder / "meta.json").exists():
        return None
    try:
        return _read(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged (%s): packing anew what is", folder, error)
        return None


def num_packed(folder: Path) -> int:
    """Images that an unfinished pack has records of."""
    try:
        return (folder / "records.bin").stat().st_size // RECORD.itemsize
    except FileNotFoundError:
        return 0


def pack(
    folder: Path,
    find_files: Callable[[], Sequence[Path]],
    labels: Labels,
    class_names: tuple[str, ...],
    image_size: int,
) -> tuple[SourceData | None, dict[int, str]]:
    """Pack all images that `folder` does not have yet, while other processes wait.

    Args:
        folder: its name must change whenever the images may have.
        find_files: the image files of all parts, part after part; asked once it is sure that they are needed.
        labels: of each part, in that order.
        class_names: one for each label.
        image_size: side length in pixels that training will see.

    Returns:
        The pack and nothing, or nothing and why images cannot be read, by their number. Those that can be are kept.

    Raises:
        DataError: the disk is full or cannot be written, or what `find_files` raises.
    """
    with building(folder):
        source = open_pack(folder)  # another process may have made it while we waited
        if source is not None:
            return source, {}
        files = find_files()
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "meta.json").unlink(missing_ok=True)
            unreadable = _pack_missing(folder, files, short_side_of(image_size))
            if unreadable:
                return None, unreadable
            records = _by_image(np.fromfile(folder / "records.bin", RECORD))
            for part, values in labels.items():
                _write(folder / f"{part}_labels.bin", np.ascontiguousarray(values, dtype="<i8").tobytes())
            meta = {
                "fingerprint": fingerprint_of(records, list(labels.values()), class_names, image_size),
                "class_names": class_names,
                "image_size": image_size,
                "parts": list(labels),
            }
            _write(folder / "meta.json.partial", json.dumps(meta).encode())
            (folder / "meta.json.partial").replace(folder / "meta.json")
            folder_to_disk(folder)
            return _read(folder), {}


def _read(folder: Path) -> SourceData:
    content = json.loads((folder / "meta.json").read_bytes())
    meta = _Meta(content["fingerprint"], tuple(content["class_names"]), content["image_size"], tuple(content["parts"]))
    records = _by_image(np.fromfile(folder / "records.bin", RECORD))
    labels = {part: np.fromfile(folder / f"{part}_labels.bin", "<i8").astype(np.int64) for part in meta.parts}
    if fingerprint_of(records, list(labels.values()), meta.class_names, meta.image_size) != meta.fingerprint:
        raise ValueError("its records are not those of the fingerprint in meta.json")
    file = folder / "images.bin"
    images = np.memmap(file, np.uint8, mode="r")
    if len(images) < (records["start"] + records["length"]).max():
        raise ValueError("images.bin is shorter than its records say")
    sets: dict[Part, ImageSet] = {}
    start = 0
    for part, values in labels.items():
        values.flags.writeable = False
        stop = start + len(values)
        sets[part] = ImageSet(PackedImages(file, images, records[start:stop], meta.image_size), values)
        start = stop
    return SourceData(sets["train"], sets["test"], meta.class_names, meta.fingerprint, sets.get("validation"))


def _pack_missing(folder: Path, files: Sequence[Path], short_side: int) -> dict[int, str]:
    """Add what is missing to `images.bin` and `records.bin`; returns the images that cannot be read, and why."""
    records = _sound_records(folder)
    _write(folder / "records.partial", records.tobytes())
    (folder / "records.partial").replace(folder / "records.bin")
    missing = np.setdiff1d(np.arange(len(files)), records["image"]).tolist()
    if missing:
        done = f", {len(records)} are there already" if len(records) else ""
        log.info("packing %d images into %s%s", len(missing), folder, done)
    unreadable: dict[int, str] = {}
    with (folder / "images.bin").open("ab") as images, (folder / "records.bin").open("ab") as table:
        end = images.seek(0, os.SEEK_END)  # what no record speaks of stays: another process may read there
        uncommitted: list[NDArray[np.void]] = []
        last_commit = last_log = time.monotonic()
        for number, packed, reasons in _packed_chunks(files, missing, short_side):
            unreadable |= reasons
            for record, jpeg in packed:
                record["start"] = end
                images.write(jpeg)
                end += len(jpeg)
                uncommitted.append(record)
            now = time.monotonic()
            if now - last_commit > _COMMIT_SECONDS:
                _commit(images, table, uncommitted)
                last_commit, uncommitted = now, []
            if now - last_log > _LOG_SECONDS:
                last_log = now
                log.info("packed %d of %d images, %.1f GB", number, len(missing), end / 1e9)
        _commit(images, table, uncommitted)
    return unreadable


def _commit(images: Any, table: Any, records: list[NDArray[np.void]]) -> None:  # noqa: ANN401  open binary files
    to_disk(images)
    table.write(b"".join(record.tobytes() for record in records))
    to_disk(table)


def _packed_chunks(
    files: Sequence[Path], indices: Sequence[int], short_side: int
) -> Iterator[tuple[int, list[tuple[NDArray[np.void], bytes]], dict[int, str]]]:
    """Pack images in threads; yields how many are done, some of them with their records, and which cannot be read."""
    num_threads = num_cpus()
    chunks = iter([indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)])
    done = 0
    with ThreadPoolExecutor(num_threads) as pool:
        pending: deque[Future[tuple[list[tuple[NDArray[np.void], bytes]], dict[int, str]]]] = deque()
        try:
            while True:
                while len(pending) < 2 * num_threads and (chunk := next(chunks, None)) is not None:
                    pending.append(pool.submit(_pack_chunk, files, chunk, short_side))
                if not pending:
                    return
                packed, unreadable = pending.popleft().result()
                done += len(packed) + len(unreadable)
                yield done, packed, unreadable
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C: do not pack the rest first
            raise


def _pack_chunk(
    files: Sequence[Path], indices: Sequence[int], short_side: int
) -> tuple[list[tuple[NDArray[np.void], bytes]], dict[int, str]]:
    packed, unreadable = [], {}
    for index in indices:
        try:
            jpeg, height, width = pack_image(files[index], short_side)
        except Exception as error:  # a broken file makes Pillow raise nearly anything
            unreadable[index] = why_unreadable(error)
            continue
        record = np.array((index, 0, len(jpeg), height, width, digest_of(jpeg)), RECORD)
        packed.append((record, jpeg))
    return packed, unreadable


def _sound_records(folder: Path) -> NDArray[np.void]:
    """The records whose images are on disk as they were packed."""
    try:
        content = (folder / "records.bin").read_bytes()
        images = np.memmap(folder / "images.bin", np.uint8, mode="r")
    except (FileNotFoundError, ValueError):  # memmap's word for an empty file
        return np.empty(0, RECORD)
    records = np.frombuffer(content[: len(content) // RECORD.itemsize * RECORD.itemsize], RECORD)
    is_sound = [
        digest_of(images[start : start + length].tobytes()) == digest.tobytes()
        for start, length, digest in zip(
            records["start"].tolist(), records["length"].tolist(), records["digest"], strict=True
        )
    ]
    sound: NDArray[np.void] = records[np.array(is_sound, dtype=bool)]
    return sound


def _by_image(records: NDArray[np.void]) -> NDArray[np.void]:
    """In the order of the images, which is not that in which a pack was made that went on where it was."""
    return records[np.argsort(records["image"], kind="stable")]


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        to_disk(file)
