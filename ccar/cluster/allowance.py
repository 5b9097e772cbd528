"""What a run may take, as its `RunControl`: signals, device hours, trials at once, and what others leave it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from ccar.cluster.interruption import Interruption
from ccar.cluster.seat import Seat

_SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a user allows a run."""

    max_device_hours: float | None = None  # None: any
    trials_at_once: int | None = None  # None: as many as fit
    priority: int = 0  # among studies that share a cluster; higher goes first


class Allowance:
    """How much a run may take, and whether it is over: by a signal, by its device hours, or by a pause."""

    def __init__(self, limits: Limits, interruption: Interruption, *, seat: Seat | None) -> None:
        """Nothing has been taken yet.

        Args:
            limits: what the user allows.
            interruption: what has come of signals.
            seat: among those who share the cluster; None: it is this run's alone.
        """
        self._limits = limits
        self._interruption = interruption
        self._devices = 0.0  # GPUs, or CPUs in a study without, of each trial
        self._seat = seat
        self._num_using = 0  # trials that use their devices
        self._has_paused = False
        self._device_seconds = 0.0
        self._counted_at = time.monotonic()

    @property
    def most(self) -> float:
        """Trials at once that the user allows."""
        return self._limits.trials_at_once or math.inf

    @property
    def is_spent(self) -> bool:
        """Whether the device hours are used up."""
        most = self._limits.max_device_hours
        return most is not None and self._device_seconds >= most * 3600

    @property
    def is_over(self) -> bool:
        """Whether to stop all trials at their last checkpoint and end, for good or for the time of a pause."""
        self._count()
        if self._seat is not None and self._seat.is_to_pause:
            self._has_paused = True  # it takes some seconds to end, and may be resumed by then
        return self._interruption.is_over or self.is_spent or self._has_paused

    def begin(self, cluster: str, slots: int, devices: float) -> None:
        """Ray is there: take a seat among those who share the cluster."""
        self._devices = devices
        if self._seat is not None:
            self._seat.take(cluster, slots)

    def resized(self, slots: int) -> None:
        """Tell those who share the cluster."""
        if self._seat is not None:
            self._seat.resize(slots)

    def trials_at_once(self, running: int, left: int, unplaced: int) -> float:
        """How many trials may be under way now."""
        self._count()
        self._num_using = running - unplaced
        if self._seat is None:
            return self.most
        return min(self.most, self._seat.may_run(running, left, self._device_seconds, unplaced=unplaced))

    def outlasts_pause(self) -> bool:
        """After a run that ended before it was done: if by a pause, wait for its end; then, whether it is to go on."""
        self._num_using = 0
        if self._seat is None or not self._has_paused:
            return False
        self._seat.may_run(0, 0, self._device_seconds)
        while self._seat.is_to_pause and not self._interruption.is_over:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._has_paused = False
        # Not `is_over`: where somebody has asked for another pause meanwhile, that one has an end too.
        return not (self._interruption.is_over or self.is_spent)

    def _count(self) -> None:
        now = time.monotonic()
        self._device_seconds += self._num_using * self._devices * (now - self._counted_at)
        self._counted_at = now
