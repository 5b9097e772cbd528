"""How many trials share a GPU, as it was measured: a note for each kind of trial.

gpus/DIGEST.json    the kind of GPU, and the number
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ccar.errors import StoreError
from ccar.store.files import replace_atomically, sealed, unseal
from ccar.store.key import digest_of_parts
from ccar.training.config import TrialConfig


@dataclass(frozen=True, slots=True)
class GpuNote:
    """On such a GPU, so many trials at once."""

    gpu: str
    trials_per_gpu: int


class GpuNotes:
    """Reads and writes these notes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, trial: TrialConfig, cpus: float) -> GpuNote | None:
        """What was measured for such a trial on so many CPUs; None: nothing yet."""
        try:
            return GpuNote(**unseal(self._file(trial, cpus)))
        except (FileNotFoundError, StoreError):  # a damaged one is measured again
            return None

    def write(self, trial: TrialConfig, cpus: float, note: GpuNote) -> None:
        """Remember it, in place of what was measured before.

        Raises:
            StoreError: the store cannot be written.
        """
        replace_atomically(self._file(trial, cpus), sealed(asdict(note)))

    def _file(self, trial: TrialConfig, cpus: float) -> Path:
        digest = digest_of_parts({"trial": trial.model_dump(mode="json"), "cpus": cpus})
        return self._folder / f"{digest[:32]}.json"
