"""One at a time where no kernel keeps locks: a turn is a numbered file that is created once, and a heartbeat.

N.turn     who took turn N; the highest number is the one that counts
N-*.beat   touched as long as turn N is held; gone once it is given back
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from ccar.store.folder import Folder
from ccar.store.liveness import Heartbeat, is_alive, this_process
from ccar.store.seal import sealed, unseal

_SECONDS_BETWEEN_LOOKS = 0.5
_DIGITS = 9
_OURS = re.compile(rf"(\d{{{_DIGITS}}})(\.turn|-.+\.beat)")


@contextmanager
def taken_turn(folder: Folder, seconds: float) -> Iterator[None]:
    """Hold the turn of this folder for the time of the block; one whose holder is dead is taken over.

    Like a claim, it is lost by a process that nobody has heard of for the time of the lease, and that process does not
    hear of it: for what may be done twice, but should not.

    Args:
        folder: for this turn and nothing else.
        seconds: how long to wait for it.

    Raises:
        TimeoutError: others had it all the time.
    """
    deadline = time.monotonic() + seconds
    while (heartbeat := _take(folder)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{folder} is held by another process")
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        heartbeat.end()


def _take(folder: Folder) -> Heartbeat | None:
    """Take the next turn; None while somebody has the last one, or was faster."""
    last = _last(folder)
    if last and _is_held(folder, last):
        return None
    number = last + 1
    beat = f"{number:0{_DIGITS}d}-{uuid.uuid4().hex[:8]}.beat"
    heartbeat = Heartbeat(folder, beat)  # before the turn: one without a heartbeat would look given back
    is_ours = False
    try:
        taken = folder.create(_name(number), sealed({"process": this_process(), "heartbeat": beat}))
        # Whoever was slow between looking and creating may have created a number that had been taken and cleared away.
        is_ours = taken and _last(folder) == number
        if is_ours:
            _clear_before(folder, number)
    finally:
        if not is_ours:
            heartbeat.end()
    return heartbeat if is_ours else None


def _is_held(folder: Folder, number: int) -> bool:
    try:
        turn = unseal(folder, _name(number))
    except FileNotFoundError:  # a later one has been taken meanwhile
        return True
    return is_alive(turn["process"], folder, turn["heartbeat"])


def _last(folder: Folder) -> int:
    return max((number for name, number in _numbered(folder) if name == _name(number)), default=0)


def _clear_before(folder: Folder, number: int) -> None:
    for name, its_number in _numbered(folder):
        if its_number < number:
            folder.delete(name)


def _numbered(folder: Folder) -> list[tuple[str, int]]:
    """The files of turns and their numbers, whatever else somebody has put there."""
    return [(name, int(ours[1])) for name in folder.names() if (ours := _OURS.fullmatch(name))]


def _name(number: int) -> str:
    return f"{number:0{_DIGITS}d}.turn"
