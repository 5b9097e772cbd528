"""How far a study has been delivered to one tracking URI: a shortcut that may be lost at any time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import NamedTuple

from ccar.store.folder import Folder


class Delivered(NamedTuple):
    """The state in which MLflow has a trial: the length of its log, and its names in the study."""

    num_records: int
    status: str
    cell: str
    method: str


@dataclass(slots=True)
class Cursor:
    """What has been delivered of one study. `plan` is the digest of the study that MLflow shows, if any.

    `damaged` are the keys of trials that could not be delivered, because what was written is no longer there to read.
    """

    plan: str | None = None
    trials: dict[str, Delivered] = field(default_factory=dict)  # by trial key
    damaged: set[str] = field(default_factory=set)

    @classmethod
    def load(cls, folder: Folder, name: str) -> Cursor:
        """Read a cursor; an empty one when there is none, or none that can be understood.

        Raises:
            StoreError: it cannot be read just now.
        """
        try:
            content = json.loads(folder.read(name))
            trials = {key: Delivered(*values) for key, values in content["trials"].items()}
            return cls(content["plan"], trials, set(content["damaged"]))
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return cls()

    def save(self, folder: Folder, name: str) -> None:
        """Replace what was saved before.

        Raises:
            StoreError: the store cannot be written.
        """
        content = {"plan": self.plan, "trials": self.trials, "damaged": sorted(self.damaged)}
        folder.replace(name, json.dumps(content, separators=(",", ":")).encode())
