"""What is read from the store is what was written: files with their own digest, and files whose digest is noted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ccar.errors import Damaged
from ccar.store.folder import Folder

TRAIN_AGAIN = "restore it from a backup, or delete the trial's folder to train that trial again"


def sealed(payload: Mapping[str, Any]) -> bytes:
    """`payload` as one line of JSON, and a second line with the sha256 of the first."""
    line = json.dumps(payload, separators=(",", ":"), allow_nan=False).encode()
    return line + b'\n{"sha256":"' + hashlib.sha256(line).hexdigest().encode() + b'"}\n'


def unseal(folder: Folder, name: str, *, hint: str = "delete that file") -> dict[str, Any]:
    """Read back what `sealed` made.

    Args:
        folder: where it is.
        name: of the file.
        hint: what to do about one that is damaged.

    Raises:
        FileNotFoundError: there is no such file.
        Damaged: the file was altered after it was written.
        StoreError: it cannot be read.
    """
    line, _, seal = folder.read(name).partition(b"\n")
    try:
        matches = json.loads(seal)["sha256"] == hashlib.sha256(line).hexdigest()
    except (ValueError, KeyError, TypeError):
        matches = False
    if not matches:
        raise Damaged(
            f"{folder}/{name} is damaged: its content does not match its sha256",
            hint=hint,
        )
    payload: dict[str, Any] = json.loads(line)
    return payload


def unseal_needed(folder: Folder, name: str, *, hint: str) -> dict[str, Any]:
    """As `unseal`, of a file that has to be there.

    Raises:
        Damaged: the file is missing or was altered.
        StoreError: it cannot be read.
    """
    try:
        return unseal(folder, name, hint=hint)
    except FileNotFoundError as error:
        raise Damaged(f"{folder}/{name} is missing", hint=hint) from error


def read_verified(folder: Folder, name: str, sha256: str) -> bytes:
    """The bytes of a trial's file, which must have this digest.

    Raises:
        Damaged: the file is missing or was altered.
        StoreError: it cannot be read.
    """
    try:
        content = folder.read(name)
    except FileNotFoundError as error:
        raise Damaged(f"{folder}/{name} is missing", hint=TRAIN_AGAIN) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Damaged(f"{folder}/{name} is damaged", hint=TRAIN_AGAIN)
    return content
