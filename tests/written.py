"""What tests look for in the files that a program has written."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def written_in(*folders: Path) -> dict[Path, bytes]:
    """What is in the files below these folders.

    A program that is still at work deletes some between being listed and being read: these are left out.
    """
    found: dict[Path, bytes] = {}
    for top in folders:
        for folder, _, names in os.walk(top):  # unlike Path.rglob it passes over a folder that has just gone
            for path in map(Path(folder).joinpath, names):
                with suppress(FileNotFoundError):
                    if path.is_file():
                        found[path] = path.read_bytes()
    return found


def files_with(secret: str, *folders: Path) -> list[Path]:
    """Those of the files below these folders that hold a secret; there has to be one that might."""
    found = written_in(*folders)
    assert found
    return [path for path, content in found.items() if secret.encode() in content]
