"""What a searcher has asked for, in order: so that a re-run replays it instead of asking anew."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ccar.errors import Fenced
from ccar.store.folder import Folder
from ccar.store.seal import sealed, unseal_needed

_SUFFIX = ".jsonl"


class StoredSearchLog:
    """Suggestions per group (base loss, imbalance factor, fixed switches), numbered from 0."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def asked(self, group: str) -> list[dict[str, float]]:
        """The suggestions of this group so far, in the order in which they were made.

        Raises:
            Damaged: a file is missing before the last one, or was altered after it was written.
            StoreError: one cannot be read.
        """
        folder = self._group(group)
        hint = f"restore it from a backup, or delete {folder} to search anew; trials that are stored stay"
        num_asked = sum(name.endswith(_SUFFIX) for name in folder.names())
        return [unseal_needed(folder, _name(index), hint=hint)["params"] for index in range(num_asked)]

    def record(self, group: str, index: int, params: Mapping[str, float]) -> None:
        """Remember suggestion `index`, durably.

        Raises:
            Fenced: another driver of the same study has recorded this index.
            StoreError: the store cannot be written.
        """
        content = sealed({"group": group, "params": dict(params)})
        if not self._group(group).create(_name(index), content):
            raise Fenced(f"suggestion {index} of {group} was made by another driver of this study")

    def _group(self, group: str) -> Folder:
        return self._folder.folder(hashlib.sha256(group.encode()).hexdigest()[:16])


def _name(index: int) -> str:
    return f"{index:06d}{_SUFFIX}"
