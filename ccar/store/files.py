"""The commit protocol on a file system: what exists is whole, durable, and has one writer."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    except OSError as error:
        raise _store_error(path, error) from error
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
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _store_error(path, error) from error
    _sync_folder(path.parent)


def sealed(payload: Mapping[str, Any]) -> bytes:
    """`payload` as one line of JSON, and a second line with the sha256 of the first."""
    line = json.dumps(payload, separators=(",", ":"), allow_nan=False).encode()
    return line + b'\n{"sha256":"' + hashlib.sha256(line).hexdigest().encode() + b'"}\n'


def unseal(path: Path) -> dict[str, Any]:
    """Read back what `sealed` made.

    Raises:
        FileNotFoundError: there is no such file.
        StoreError: the file was altered after it was written.
    """
    line, _, seal = path.read_bytes().partition(b"\n")
    try:
        matches = json.loads(seal)["sha256"] == hashlib.sha256(line).hexdigest()
    except (ValueError, KeyError, TypeError):
        matches = False
    if not matches:
        raise StoreError(
            f"{path} is damaged: its content does not match its sha256",
            hint="restore it from a backup, or delete the trial's folder to train that trial again",
        )
    payload: dict[str, Any] = json.loads(line)
    return payload


def read_verified(path: Path, sha256: str) -> bytes:
    """The bytes of `path`, which must have this digest.

    Raises:
        StoreError: the file is missing or was altered.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing", hint="delete the trial's folder to train it again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(f"{path} is damaged", hint="delete the trial's folder to train that trial again")
    return content


def make_folder(path: Path) -> None:
    """Create the folder and its parents.

    Raises:
        StoreError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _store_error(path, error) from error


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
        raise _store_error(path, error) from error
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _store_error(path: Path, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"no space left to write {path}",
            hint="nothing committed is lost: free some space and run the same command again",
        )
    return StoreError(
        f"cannot write {path}: {error.strerror or error}",
        hint="choose a folder that this user may write: --store DIR",
    )
