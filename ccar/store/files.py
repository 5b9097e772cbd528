"""The commit protocol on a file system: what exists is whole, durable, and has one writer."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

from ccar.errors import StoreError


def create_exclusively(path: Path, content: bytes) -> bool:
    """Create `path` with `content`, durably; False when somebody else has created it already.

    Written to a temporary file, fsynced, then hard-linked: the link is the commit, and it succeeds only once.
    A crash at any moment leaves either no `path` or the whole of it.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    temporary = _write_temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except FileNotFoundError:  # we were frozen, and whoever took the trial over has cleared the temporary file away
        return create_exclusively(path, content)
    except OSError as error:
        raise store_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def replace_atomically(path: Path, content: bytes) -> None:
    """Create or replace `path`, durably; readers see the old content or the new, never a part.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    temporary = _write_temporary(path, content)
    try:
        temporary.replace(path)
    except FileNotFoundError:  # see above
        replace_atomically(path, content)
        return
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise store_error(path, error) from error
    _sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Create the folder and its parents.

    Raises:
        StoreError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise store_error(path, error) from error


def store_error(path: Path, error: OSError) -> StoreError:
    """What is raised for an error of the file system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"no space left to write {path}",
            hint="nothing committed is lost: free some space and run the same command again",
        )
    return StoreError(
        f"cannot write {path}: {error.strerror or error}",
        hint="choose a folder that this user may write: --store DIR",
    )


def _write_temporary(path: Path, content: bytes) -> Path:
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise store_error(path, error) from error
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
