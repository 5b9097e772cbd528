"""What a run asks while it works: how much of the cluster it may use, and whether it is to end."""

from __future__ import annotations

import math
from typing import Protocol


class RunControl(Protocol):
    """Is asked several times a second."""

    @property
    def trials_at_once(self) -> float:
        """How many trials may be under way now; infinite when only the cluster's size limits them."""

    @property
    def is_over(self) -> bool:
        """Whether to stop all trials at their last checkpoint and end."""


class Unlimited:
    """A run that has the cluster to itself and goes on to its end."""

    trials_at_once = math.inf
    is_over = False
