"""Who may use how much of a cluster that several studies share: arithmetic over what their drivers tell.

Every driver computes it from the same entries in the store, so nobody has to be in charge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

APART = "~"  # between what people call a driver, and what makes its id the only one of its store


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A study whose driver lives."""

    id: str
    slots: int  # how many trials like its own the whole cluster holds; at least 1
    running: int  # trials under way
    left: int  # trials that could start now, if there were room
    unplaced: int = 0  # of those under way, how many have no process yet
    priority: int = 0  # higher goes first
    at_once: int | None = None  # most trials at once that it was given; None: as many as fit
    device_seconds: float = 0.0  # of devices that its driver has used so far
    since: float = 0.0  # Unix time at which its driver began
    paused: bool = False

    @property
    def size(self) -> Fraction:
        """The part of the cluster that one of its trials takes."""
        return Fraction(1, self.slots)

    @property
    def wanted(self) -> int:
        """How many trials it would have under way if it were alone."""
        wanted = 0 if self.paused else self.running + self.left
        return wanted if self.at_once is None else min(wanted, self.at_once)


def name_of(driver_id: str) -> str:
    """What people call it."""
    return driver_id.partition(APART)[0]


def shares(contenders: Sequence[Contender]) -> Mapping[str, int]:
    """How many trials each may have under way, by id.

    The cluster is handed out trial by trial: to the highest priority; among equals to whoever has the smallest part
    so far, so that all get the same part as long as they can use it; then to whoever has used its devices for the
    shortest time, so that what cannot be divided goes round; then to the oldest.
    """
    granted = dict.fromkeys((one.id for one in contenders), 0)
    free = Fraction(1)
    while open_ones := [one for one in contenders if granted[one.id] < one.wanted and one.size <= free]:
        chosen = min(
            open_ones,
            key=lambda one: (-one.priority, granted[one.id] * one.size, one.device_seconds, one.since, one.id),
        )
        granted[chosen.id] += 1
        free -= chosen.size
    return granted


def may_run(contenders: Sequence[Contender], own_id: str) -> int:
    """How many trials a study may have under way at this moment.

    No trial is taken away from anybody: who has more than its share keeps it until its trials end, and the others
    wait for that. While a larger trial waits for room on one node, no smaller one takes what falls free: together they
    would leave room enough, and on no node.
    """
    own = next(one for one in contenders if one.id == own_id)
    if len(contenders) == 1:  # what follows comes to the same, trial by trial
        return max(own.running, min(own.wanted, own.slots))
    if _before(own, contenders):
        return own.running
    more = shares(contenders)[own_id] - own.running
    held = sum((one.running * one.size for one in contenders), Fraction(0))
    return own.running + max(0, min(more, int((1 - held) / own.size)))


def _before(own: Contender, contenders: Sequence[Contender]) -> Sequence[Contender]:
    """Those whose larger trials have yet to find room; nobody where no smaller one is in their way."""
    return [
        one
        for one in contenders
        if one.unplaced
        and one.size > own.size
        and any(other.size < one.size and other.running > other.unplaced for other in contenders)
    ]


def queue(contenders: Sequence[Contender]) -> Mapping[str, str]:
    """For each study that could train and does not: its place, and what it waits for."""
    granted = shares(contenders)
    idle = [one for one in contenders if one.wanted > 0 and one.running == 0]
    idle.sort(key=lambda one: (granted[one.id] == 0, -one.priority, one.device_seconds, one.since, one.id))
    waiting = [(one.id, reason) for one in idle if (reason := _reason(one, contenders, granted)) is not None]
    return {name: f"place {place} of {len(waiting)}: {reason}" for place, (name, reason) in enumerate(waiting, start=1)}


def _reason(one: Contender, contenders: Sequence[Contender], granted: Mapping[str, int]) -> str | None:
    """What a study that trains nothing waits for; None when it is about to start."""
    if granted[one.id] > 0:
        holders = [name_of(other.id) for other in contenders if other.running > granted[other.id]]
        if holders:
            return f"a trial of {_and(holders)} has to end"
        before = [name_of(other.id) for other in _before(one, contenders)]
        return f"a larger trial of {_and(before)} has to start" if before else None
    ahead = [other for other in contenders if granted[other.id] > 0]
    higher = [f"{name_of(other.id)} (priority {other.priority})" for other in ahead if other.priority > one.priority]
    return f"behind {_and(higher or [name_of(other.id) for other in ahead])}"


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
