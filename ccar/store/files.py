"""The commit protocol on a file system: what exists is whole, durable, and has one writer."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ccar.errors import StoreError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# Of a disk, of the server of a network file system, and of a mount whose other end is gone.
_BROKEN = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN})


def create_exclusively(path: Path, content: bytes) -> bool:
    """Create `path` with `content`, durably; False when somebody else has created it already.

    Written to a temporary file, fsynced, then hard-linked: the link is the commit, and it succeeds only once.
    A crash at any moment leaves either no `path` or the whole of it.

    Raises:
        StoreError: the disk is full or the folder cannot be written. `path` may be there nevertheless: where only
            the last fsync failed, or a server did what it was told and could not say so.
    """
    with store_errors("write", path):
        temporary = _write_temporary(path, content)
        try:
            os.link(temporary, path)
        except FileExistsError:
            # Where the answer of a server gets lost, NFS sends the link again, and is told of the one that it made.
            if not _is_same_file(path, temporary):
                return False
        except FileNotFoundError:  # we were frozen, and whoever took the trial over has cleared the temporary file away
            return create_exclusively(path, content)
        finally:
            _remove(temporary)
        _sync_folder(path.parent)
        return True


def replace_atomically(path: Path, content: bytes) -> None:
    """Create or replace `path`, durably; readers see the old content or the new, never a part.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    with store_errors("write", path):
        temporary = _write_temporary(path, content)
        try:
            temporary.replace(path)
        except FileNotFoundError:  # see above
            replace_atomically(path, content)
            return
        except OSError:
            _remove(temporary)
            raise
        _sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Create the folder and its parents.

    Raises:
        StoreError: it cannot be created.
    """
    with store_errors("write", path):
        path.mkdir(parents=True, exist_ok=True)


def make_private_folder(path: Path) -> None:
    """Create the folder, open to its owner alone, and its parents; one that is there stays as it is.

    Raises:
        StoreError: it cannot be created.
    """
    with store_errors("write", path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _store_error(what: str, path: Path, error: OSError) -> StoreError:
    """What is raised for an error of the file system.

    Args:
        what: could not be done with `path`, as a verb: read, write.
        path: a file or folder of the store.
        error: why not.
    """
    if error.errno in _FULL:
        return StoreError(
            f"no space left to {what} {path}",
            hint="nothing committed is lost: free some space and run the same command again",
        )
    if error.errno in _BROKEN:
        hint = "nothing committed is lost: run the same command again when the disk, or its server, is mended"
    else:
        hint = "choose a folder that this user may read and write: --store DIR"
    return StoreError(f"cannot {what} {path}: {error.strerror or error}", hint=hint)


@contextmanager
def store_errors(what: str, path: Path, *, unless: type[OSError] | None = None) -> Iterator[None]:
    """Raise `_store_error` for every error of the file system in the block, but for one kind that the caller judges."""
    try:
        yield
    except OSError as error:
        if unless is not None and isinstance(error, unless):
            raise
        raise _store_error(what, path, error) from error


def _write_temporary(path: Path, content: bytes) -> Path:
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        _remove(temporary)
        raise
    return temporary


def _remove(temporary: Path) -> None:
    with suppress(OSError):  # nobody reads it, and whoever finishes the trial looks for such files
        temporary.unlink()


def _is_same_file(path: Path, temporary: Path) -> bool:
    try:
        return path.samefile(temporary)
    except FileNotFoundError:  # somebody else's, and deleted since
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
