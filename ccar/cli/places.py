"""Where things are, from the command line and the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ccar.cluster.worker import cache_folder
from ccar.errors import StoreUnreachable
from ccar.store.trial_store import TrialStore
from ccar.tracking.address import absolute, artifact_root, default_tracking_uri


@dataclass(frozen=True, slots=True)
class Places:
    """The store, the cache of decoded images, and MLflow."""

    store: TrialStore
    cache_dir: Path
    tracking_uri: str

    @classmethod
    def of(cls, store: str | Path, tracking_uri: str | None) -> Places:
        """Resolve what the user gave; CCAR_CACHE says where decoded images are kept (default ~/.cache/ccar).

        Raises:
            StoreUnreachable: the store is a file, or takes what is not installed.
            UserError: there can be no such store, or no such folder as CCAR_CACHE says.
        """
        trials = TrialStore(store)
        root = trials.root
        if is_there(root) and not is_folder(root):
            raise StoreUnreachable(f"the store {root} is not a folder", hint="choose another one: --store DIR")
        return cls(
            store=trials,
            cache_dir=cache_folder(otherwise=Path.home() / ".cache" / "ccar"),
            tracking_uri=absolute(tracking_uri) if tracking_uri else default_tracking_uri(root),
        )

    @property
    def store_is_there(self) -> bool:
        """False for a folder that nobody has made; what a bucket holds only a look can tell."""
        return self.store.address != str(self.store.root) or is_there(self.store.root)

    @property
    def tracks_in_store(self) -> bool:
        """Whether MLflow's database is the store's own, and so can be written if the store can."""
        return self.store.address == str(self.store.root) and self.tracking_uri == default_tracking_uri(self.store.root)

    @property
    def artifacts(self) -> str | None:
        """Where MLflow keeps files of runs; None when its server decides."""
        return artifact_root(self.store.root, self.tracking_uri)

    def report_dir(self, study: str) -> Path:
        """Where the report of a study goes when nobody says otherwise: a folder of this machine."""
        return self.store.root / "reports" / study


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False where this user may not look, as on a laptop for a path of a cluster's nodes."""
    return os.path.isdir(path)  # noqa: PTH112  (Path.is_dir raises)


def is_there(path: Path) -> bool:
    """The same of a file or a folder."""
    return os.path.exists(path)  # noqa: PTH110  (Path.exists raises)
