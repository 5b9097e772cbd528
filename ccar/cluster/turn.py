"""A study's turn at the cluster for what is no trial, but takes the place of one: a measurement."""

from __future__ import annotations

import time
from types import TracebackType

from ccar.cluster.control import RunControl

_SECONDS_BETWEEN_LOOKS = 0.5


class RunIsOver(Exception):
    """Somebody has paused or ended the run while it waited for something else."""


class Turn:
    """Used as a context manager around what takes the place of one trial; can be used again."""

    def __init__(self, control: RunControl) -> None:
        """Nothing is taken yet.

        Args:
            control: of the run; it has begun.
        """
        self._control = control

    def __enter__(self) -> Turn:
        while self._control.trials_at_once(0, 1, 0) < 1:
            self.go_on()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._control.trials_at_once(1, 0, 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._control.trials_at_once(0, 1, 0)

    def is_placed(self) -> None:
        """There is room on a node for what takes the turn; from now on it uses devices."""
        self._control.trials_at_once(1, 0, 0)

    def go_on(self) -> None:
        """To be called once a second or so.

        Raises:
            RunIsOver: it is not to go on.
        """
        if self._control.is_over:
            raise RunIsOver
