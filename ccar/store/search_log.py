"""What a searcher has asked for, in order: so that a re-run replays it instead of asking anew."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ccar.errors import Fenced
from ccar.store.files import create_exclusively, sealed, unseal


class StoredSearchLog:
    """Suggestions per group (base loss, imbalance factor, fixed switches), numbered from 0."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def asked(self, group: str) -> list[dict[str, float]]:
        """The suggestions of this group so far, in the order in which they were made.

        Raises:
            StoreError: a file was altered after it was written.
        """
        folder = self._group(group)
        return [unseal(path)["params"] for path in sorted(folder.glob("*.jsonl"))]

    def record(self, group: str, index: int, params: Mapping[str, float]) -> None:
        """Remember suggestion `index`, durably.

        Raises:
            Fenced: another driver of the same study has recorded this index.
            StoreError: the store cannot be written.
        """
        path = self._group(group) / f"{index:06d}.jsonl"
        if not create_exclusively(path, sealed({"group": group, "params": dict(params)})):
            raise Fenced(f"suggestion {index} of {group} was made by another driver of this study")

    def _group(self, group: str) -> Path:
        return self._folder / hashlib.sha256(group.encode()).hexdigest()[:16]
