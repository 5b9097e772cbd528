"""What a run asks while it works: how much of the cluster it may use, and whether it is to end."""

from __future__ import annotations

import math
from typing import Protocol


class RunControl(Protocol):
    """Is asked several times a second, once Ray is there."""

    @property
    def most(self) -> float:
        """Trials at once that the user allows; infinite: as many as fit."""

    def begin(self, cluster: str, slots: int, devices: float) -> None:
        """Ray is there: the id of its cluster, how many of the study's trials all of it holds, and the GPUs of each
        (CPUs, in a study without). Told once more when it is known how many trials are to share a GPU."""

    def resized(self, slots: int) -> None:
        """The cluster has grown or shrunk: so many of the study's trials all of it holds now."""

    def trials_at_once(self, running: int, left: int, unplaced: int) -> float:
        """How many trials may be under way now; infinite when only the cluster's size limits them.

        Args:
            running: how many are under way.
            left: how many more could start now, as far as is known; not those that wait for results of others.
            unplaced: of those under way, how many wait for room on a node, or for their process to start there.
        """

    @property
    def is_over(self) -> bool:
        """Whether to stop all trials at their last checkpoint and end."""


class Unlimited:
    """A run that has the cluster to itself and goes on to its end."""

    is_over = False
    most = math.inf

    def begin(self, cluster: str, slots: int, devices: float) -> None:
        """Nobody need know."""

    def resized(self, slots: int) -> None:
        """Nor this."""

    def trials_at_once(self, running: int, left: int, unplaced: int) -> float:
        """All that fit."""
        return math.inf
