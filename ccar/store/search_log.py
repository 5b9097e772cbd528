"""What a searcher has asked for, in order: so that a re-run replays it instead of asking anew."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ccar.errors import Fenced
from ccar.store.folder import Folder
from ccar.store.seal import sealed, unseal


class StoredSearchLog:
    """Suggestions per group (base loss, imbalance factor, fixed switches), numbered from 0."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def asked(self, group: str) -> list[dict[str, float]]:
        """The suggestions of this group so far, in the order in which they were made.

        Raises:
            StoreError: a file was altered after it was written.
        """
        folder = self._group(group)
        return [unseal(folder, name)["params"] for name in sorted(folder.names()) if name.endswith(".jsonl")]

    def record(self, group: str, index: int, params: Mapping[str, float]) -> None:
        """Remember suggestion `index`, durably.

        Raises:
            Fenced: another driver of the same study has recorded this index.
            StoreError: the store cannot be written.
        """
        content = sealed({"group": group, "params": dict(params)})
        if not self._group(group).create(f"{index:06d}.jsonl", content):
            raise Fenced(f"suggestion {index} of {group} was made by another driver of this study")

    def _group(self, group: str) -> Folder:
        return self._folder.folder(hashlib.sha256(group.encode()).hexdigest()[:16])
