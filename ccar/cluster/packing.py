"""How many trials share a GPU: as many as pay, by measurement, and fewer when memory runs out after all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ccar.errors import UserError
from ccar.store.gpu_notes import GpuNote, GpuNotes
from ccar.study.definition import Resources
from ccar.training.config import TrialConfig

MIN_GAIN = 1.1  # of the GPU's images per second, by twice as many trials; below, each of them only gets slower
MAX_MEMORY_SHARE = 0.9  # epochs differ a little, and cuDNN takes workspace as it finds it


@dataclass(frozen=True, slots=True)
class Load:
    """A GPU on which some trials train: what all of them get through, and the share of its memory that is in use."""

    images_per_second: float
    memory_share: float


class Probe(Protocol):
    """Tries trials on a GPU."""

    def most(self) -> tuple[str, int]:
        """The kind of GPU there is, and how many trials the CPUs beside each can feed; 0: there is no GPU."""

    def load(self, count: int) -> Load | None:
        """Train so many trials on one GPU for a while; None: they ran out of memory."""


def trials_per_gpu(load_of: Callable[[int], Load | None], most: int) -> int:
    """Try 1, 2, 4, ... trials on one GPU until more do not pay, or would not fit.

    Args:
        load_of: see `Probe.load`.
        most: how many trials the CPUs of the node can feed for each GPU.

    Raises:
        UserError: not even one fits.
    """
    load = load_of(1)
    if load is None:
        raise UserError("one trial alone runs out of the GPU's memory", hint="a smaller batch_size, or a larger GPU")
    count = 1
    while 2 * count <= most and 2 * load.memory_share <= MAX_MEMORY_SHARE:
        more = load_of(2 * count)
        if more is None or more.memory_share > MAX_MEMORY_SHARE:
            break
        if more.images_per_second < MIN_GAIN * load.images_per_second:
            break
        count, load = 2 * count, more
    return count


class Packing:
    """What a trial of a study gets. With `gpus: auto` that is measured on the first run, and noted in the store."""

    def __init__(
        self, asked: Resources, trial: TrialConfig | None, notes: GpuNotes, say: Callable[[str], None]
    ) -> None:
        """Nothing is measured yet.

        Args:
            asked: what the study file says.
            trial: one of the study's; None: none is known yet.
            notes: of what was measured before.
            say: is told what is measured, and what came of it.
        """
        self._asked = asked
        self._trial = trial
        self._notes = notes
        self._say = say
        self._gpu = ""  # its kind, once a probe has looked

    @property
    def known(self) -> Resources:
        """As far as it is known without measuring; of several kinds of GPU, by the one that holds the fewest."""
        measured = [note.trials_per_gpu for note in self._measured()]
        return self._asked.with_trials_per_gpu(min(measured)) if measured else self._asked

    def measured(self, probe_of: Callable[[TrialConfig, float, Callable[[str], None]], Probe]) -> Resources:
        """The same, measured where it was not yet on this kind of GPU.

        Args:
            probe_of: makes the probe of a trial on so many CPUs, which may have something to say.

        Raises:
            UserError: one trial alone does not fit, or dies.
            StoreError: it cannot be noted.
            RunIsOver: the run was ended or paused meanwhile; nothing is noted.
        """
        if self._asked.gpus != "auto" or self._trial is None:
            return self._asked
        probe = probe_of(self._trial, self._asked.cpus, self._say)
        self._gpu, most = probe.most()
        if most == 0:
            return self._asked
        note = self._note()
        if note is None:
            self._say(f"gpus: auto: measuring how many trials share a GPU ({self._gpu}), at most {most}")
            note = GpuNote(self._gpu, trials_per_gpu(probe.load, most))
            self._notes.write(self._trial, self._asked.cpus, note)
        self._say(f"gpus: auto: {note.trials_per_gpu} on each GPU")
        return self._asked.with_trials_per_gpu(note.trials_per_gpu)

    def back_off(self) -> bool:
        """Trials ran out of memory: from now on half as many share a GPU; False where that cannot help.

        Raises:
            StoreError: it cannot be noted.
        """
        note = self._note()
        if note is None or note.trials_per_gpu == 1 or self._trial is None:
            return False
        fewer = GpuNote(note.gpu, note.trials_per_gpu // 2)
        self._notes.write(self._trial, self._asked.cpus, fewer)
        self._say(f"gpus: auto: out of memory; from now on {fewer.trials_per_gpu} on each GPU")
        return True

    def _note(self) -> GpuNote | None:
        """What was measured on the kind of GPU that there is."""
        return next((note for note in self._measured() if note.gpu == self._gpu), None)

    def _measured(self) -> list[GpuNote]:
        if self._asked.gpus != "auto" or self._trial is None:
            return []
        return self._notes.read(self._trial, self._asked.cpus)
