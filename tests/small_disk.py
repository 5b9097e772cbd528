"""Disks that a test can fill, or cannot write to: file systems of their own, in memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A disk at `folder` for the time of the block; the test is skipped where nothing can be mounted.

    Args:
        folder: made by this.
        options: of tmpfs, e.g. `size=256k`.
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that there is; returns the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


@contextmanager
def read_only_folder(folder: Path) -> Iterator[Path]:
    """A folder that this user cannot write: root, who may write everywhere, cannot write a disk that is read-only."""
    if os.geteuid() == 0:
        with small_disk(folder, "size=256k,ro"):
            yield folder
    else:
        folder.mkdir(mode=0o555)
        yield folder


@contextmanager
def made_read_only(folder: Path) -> Iterator[None]:
    """Nobody can write this folder for the time of the block, and what is in it can be read."""
    if os.geteuid() == 0:
        mount = ["mount", "--bind", str(folder), str(folder)]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            pytest.skip("making a folder read-only for root takes a mount")
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
            yield
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    else:
        mode = folder.stat().st_mode
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(mode)
