"""A study's seat among those that share a cluster: it tells the others what it does, and knows what is left for it.

There is nobody in charge: every driver notes what it does in the store that they share, reads the notes of the
others, and computes the same shares from them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from types import TracebackType
from typing import Any

from ccar.cluster.fair_share import Contender, may_run, queue
from ccar.errors import StoreError
from ccar.store.drivers import Drivers

SECONDS_BETWEEN_NOTES = 1.0

_NO_PROCESS = "none of its trials has a process yet"  # they wait for room, or for their processes to start
_NEEDED = {field.name for field in fields(Contender)}


class Seat:
    """Used as a context manager around a run; a thread writes and reads the notes meanwhile."""

    def __init__(
        self, drivers: Drivers, name: str, *, study: str, priority: int, at_once: int | None, say: Callable[[str], None]
    ) -> None:
        """Nothing is noted yet.

        Args:
            drivers: the notes.
            name: of this driver; no other one of the store has it.
            study: that it brings to its end.
            priority: higher goes first.
            at_once: most trials at once; None: as many as fit.
            say: is told, from a thread, what the study waits for.
        """
        self._drivers = drivers
        self._study = study
        self._say = say
        self._cluster: str | None = None
        self._own = Contender(
            id=name, slots=1, running=0, left=0, priority=priority, at_once=at_once, since=time.time()
        )
        self._others: Sequence[Contender] | None = None  # None: nothing is known of them yet
        self._paused = False
        self._waits_for = ""
        self._noting = threading.Lock()  # else an older note could be written over a newer one
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_noting, name="ccar-seat", daemon=True)

    @property
    def is_to_pause(self) -> bool:
        """Whether somebody has asked this study to pause."""
        return self._paused

    def __enter__(self) -> Seat:
        self._drivers.forget_dead()
        self._note()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._drivers.leave(self._own.id)

    def take(self, cluster: str, slots: int) -> None:
        """Sit down at the cluster of this id, which holds `slots` trials like ours."""
        self._cluster = cluster
        self.resize(slots)

    def resize(self, slots: int) -> None:
        """The cluster holds so many trials like ours now; 0: one that is starting its nodes, for the first trial."""
        self._own = replace(self._own, slots=max(1, slots))
        self._note()

    def may_run(self, running: int, left: int, device_seconds: float, *, unplaced: int = 0) -> int:
        """Tell what this study does; how many trials it may have under way.

        The others are as of a second ago, we as of now: else a trial of ours that has just ended would be followed by
        another one whoever waits for its place.
        """
        first = self._own.wanted == 0
        self._own = replace(self._own, running=running, left=left, unplaced=unplaced, device_seconds=device_seconds)
        if first and self._own.wanted:
            self._note()  # now and not in a second: nobody could know that we want anything
        own = replace(self._own, paused=self._paused)
        return 0 if self._others is None else may_run([*self._others, own], own.id)

    def _keep_noting(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_NOTES):
            self._note()

    def _note(self) -> None:
        """Write our note, read those of the others, and draw the conclusions."""
        with self._noting:
            self._note_now()

    def _note_now(self) -> None:
        try:
            with suppress(StoreError):  # else as it was: what cannot be read just now is no leave to go on
                self._paused = self._drivers.is_to_pause(self._own.id)
            own = replace(self._own, paused=self._paused)
            told = {"study": self._study, "cluster": self._cluster, "waits_for": self._waits_for}
            now = self._drivers.note(own.id, {**asdict(own), **told})
            sharing = contenders(self._drivers.alive(now=now), self._cluster)
        except (StoreError, OSError):  # a full disk shows at the next commit of a trial, with a better message
            return
        if own.id not in {one.id for one in sharing}:
            return
        self._others = [one for one in sharing if one.id != own.id]
        waits_for = queue(sharing).get(own.id, "")
        if waits_for and waits_for != self._waits_for:
            self._say(f"waits, {waits_for}")
        self._waits_for = waits_for


def contenders(notes: Mapping[str, Mapping[str, Any]], cluster: str | None) -> Sequence[Contender]:
    """The drivers of one cluster, from their notes; without those of another version of ccar, which may say less."""
    return [
        Contender(**{name: note[name] for name in _NEEDED})
        for note in notes.values()
        if note.get("cluster") == cluster and note.keys() >= _NEEDED
    ]


def standing_of_drivers(notes: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, object]]:
    """For each driver that lives, as plain JSON: its state, what it waits for, and its trials under way."""
    standing = {}
    for cluster in {note.get("cluster") for note in notes.values()}:
        sharing = contenders(notes, cluster)
        waiting = queue(sharing)
        for one in sharing:
            placed = one.running - one.unplaced
            why = waiting.get(one.id, "" if one.paused or placed or not one.running else _NO_PROCESS)
            state = "paused" if one.paused else "waiting" if why else "running"
            standing[one.id] = {"state": state, "why": why, "running": placed}
    return standing
