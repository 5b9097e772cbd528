"""A folder of a file system, also one that many hosts share: see files.py for how it commits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import filelock

from ccar.store.files import create_exclusively, make_folder, replace_atomically, store_errors


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
        with self._says("read", name):
            return (self.path / name).read_bytes()

    def exists(self, name: str) -> bool:
        try:
            self.touched_at(name)
        except FileNotFoundError:
            return False
        return True

    def delete(self, *names: str) -> None:
        for name in names:
            with self._says("delete", name):
                (self.path / name).unlink(missing_ok=True)

    def touch(self, name: str) -> None:
        with self._says("write", name):
            (self.path / name).touch()

    def touched_at(self, name: str) -> float:
        with self._says("read", name):
            return (self.path / name).stat().st_mtime

    def names(self, depth: int = 1) -> Collection[str]:
        # Neither by globbing nor by iterdir: whoever follows a store of thousands of trials would wait for its paths.
        try:
            with self._says("read"):
                if depth == 1:
                    return os.listdir(self.path)  # noqa: PTH208
                with os.scandir(self.path) as entries:
                    # A file manager may leave a file here.
                    folders = [entry.name for entry in entries if entry.is_dir()]
        except FileNotFoundError:
            return []
        return [name for folder in folders for name in self.folder(folder).names()]  # one may be deleted meanwhile

    def versions(self) -> Mapping[str, str]:
        found = {}
        with suppress(FileNotFoundError), self._says("read"), os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # a temporary file, or deleted meanwhile
                    stat = entry.stat()
                    found[entry.name] = f"{stat.st_mtime_ns} {stat.st_ino}"
        return found

    @contextmanager
    def turn(self, name: str, seconds: float) -> Iterator[None]:
        make_folder(self.path)
        lock = filelock.FileLock(self.path / name, timeout=seconds)
        with store_errors("lock", self.path / name, unless=TimeoutError):
            turn = lock.acquire()
        with turn:  # the kernel lets go when its owner dies
            yield

    def nearest(self) -> DiskFolder:
        existing = self.path
        with self._says("read"):
            while not existing.exists():
                existing = existing.parent
        return DiskFolder(existing)

    def clear(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def free_bytes(self) -> int | None:
        with self._says("read"):
            return shutil.disk_usage(self.nearest().path).free

    def _says(self, what: str, name: str = "") -> AbstractContextManager[None]:
        """Turn errors of the file system into ours; that there is no such file is for the caller to judge."""
        return store_errors(what, self.path / name, unless=FileNotFoundError)
