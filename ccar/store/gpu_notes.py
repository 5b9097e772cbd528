"""How many trials share a GPU, as it was measured: a note for each kind of trial.

gpus/DIGEST.json    the kind of GPU, and the number
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ccar.errors import StoreError
from ccar.store.folder import Folder
from ccar.store.key import digest_of_parts
from ccar.store.seal import sealed, unseal
from ccar.training.config import TrialConfig


@dataclass(frozen=True, slots=True)
class GpuNote:
    """On such a GPU, so many trials at once."""

    gpu: str
    trials_per_gpu: int


class GpuNotes:
    """Reads and writes these notes."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def read(self, trial: TrialConfig, cpus: float) -> GpuNote | None:
        """What was measured for such a trial on so many CPUs; None: nothing yet."""
        try:
            return GpuNote(**unseal(self._folder, _name(trial, cpus)))
        except (FileNotFoundError, StoreError):  # a damaged one is measured again
            return None

    def write(self, trial: TrialConfig, cpus: float, note: GpuNote) -> None:
        """Remember it, in place of what was measured before.

        Raises:
            StoreError: the store cannot be written.
        """
        self._folder.replace(_name(trial, cpus), sealed(asdict(note)))


def _name(trial: TrialConfig, cpus: float) -> str:
    digest = digest_of_parts({"trial": trial.model_dump(mode="json"), "cpus": cpus})
    return f"{digest[:32]}.json"
