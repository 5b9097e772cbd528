"""How many trials share a GPU, as it was measured: a note for each kind of trial on each kind of GPU.

gpus/DIGEST-DIGEST.json    of the kind of trial, and of the kind of GPU; the kind of GPU, and the number
"""

from __future__ import annotations

from contextlib import suppress
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

    def read(self, trial: TrialConfig, cpus: float) -> list[GpuNote]:
        """What was measured for such a trial on so many CPUs; what is damaged or of another version is none.

        Raises:
            StoreError: the notes cannot be listed.
        """
        found = []
        for name in sorted(self._folder.names()):
            if name.startswith(_prefix(trial, cpus)):
                with suppress(FileNotFoundError, StoreError, TypeError):
                    found.append(GpuNote(**unseal(self._folder, name)))
        return found

    def write(self, trial: TrialConfig, cpus: float, note: GpuNote) -> None:
        """Remember it, in place of what was measured on this kind of GPU before.

        Raises:
            StoreError: the store cannot be written.
        """
        name = f"{_prefix(trial, cpus)}{_digest({'gpu': note.gpu})}.json"
        self._folder.replace(name, sealed(asdict(note)))


def _prefix(trial: TrialConfig, cpus: float) -> str:
    return f"{_digest({'trial': trial.model_dump(mode='json'), 'cpus': cpus})}-"


def _digest(parts: dict[str, object]) -> str:
    return digest_of_parts(parts)[:32]
