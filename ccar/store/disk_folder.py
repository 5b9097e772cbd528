"""A folder of a file system, also one that many hosts share: see files.py for how it commits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import filelock

from ccar.store.files import create_exclusively, make_folder, replace_atomically, store_error


@dataclass(frozen=True, slots=True)
class DiskFolder:
    """See `ccar.store.folder.Folder`."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def folder(self, *names: str) -> DiskFolder:
        return DiskFolder(self.path.joinpath(*names))

    def create(self, name: str, content: bytes) -> bool:
        return create_exclusively(self.path / name, content)

    def replace(self, name: str, content: bytes) -> None:
        replace_atomically(self.path / name, content)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def delete(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def touch(self, name: str) -> None:
        try:
            (self.path / name).touch()
        except FileNotFoundError:  # the folder was deleted
            raise
        except OSError as error:
            raise store_error(self.path / name, error) from error

    def touched_at(self, name: str) -> float:
        return (self.path / name).stat().st_mtime

    def names(self, depth: int = 1) -> Collection[str]:
        # Neither by globbing nor by iterdir: whoever follows a store of thousands of trials would wait for its paths.
        try:
            if depth == 1:
                return os.listdir(self.path)  # noqa: PTH208
            with os.scandir(self.path) as folders:
                return [name for folder in folders for name in os.listdir(folder)]  # noqa: PTH208
        except FileNotFoundError:
            return []

    def versions(self) -> Mapping[str, str]:
        found = {}
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # a temporary file, or deleted meanwhile
                    stat = entry.stat()
                    found[entry.name] = f"{stat.st_mtime_ns} {stat.st_ino}"
        return found

    @contextmanager
    def turn(self, name: str, seconds: float) -> Iterator[None]:
        make_folder(self.path)
        with filelock.FileLock(self.path / name, timeout=seconds):  # the kernel lets go when its owner dies
            yield

    def nearest(self) -> DiskFolder:
        existing = self.path
        while not existing.exists():
            existing = existing.parent
        return DiskFolder(existing)

    def clear(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def free_bytes(self) -> int | None:
        return shutil.disk_usage(self.nearest().path).free
