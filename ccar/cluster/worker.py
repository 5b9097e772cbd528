"""Who trains trials, as the runners see it, and where it is put to work."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ccar.cluster.events import TrialProgress
from ccar.store.address import whole_path
from ccar.training.config import TrialConfig


class Worker(Protocol):
    """Trains one trial after another; `TrialWorker` is the one that does."""

    def run(self, config: TrialConfig, key: str, *, every_epoch: bool = False) -> Generator[TrialProgress, None, None]:
        """See `TrialWorker.run`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What a worker finds in its own process."""

    store: str  # its address
    cache_dir: Path  # of this machine
    cpus: float  # its share of the node's
    has_gpu: bool  # whether a GPU, or a part of one, is given to it
    hang_seconds: float  # after so long without a batch it ends its process


def cache_folder(otherwise: Path) -> Path:
    """Where this machine keeps decoded images: as CCAR_CACHE says here, or `otherwise`.

    Raises:
        UserError: CCAR_CACHE names a user that this machine does not have.
    """
    named = os.environ.get("CCAR_CACHE")
    return whole_path(named) if named else otherwise


NewWorker = Callable[[Workplace], Worker]
"""Makes the worker of a process. It is called there, so it must be importable there, and bring its own imports."""
