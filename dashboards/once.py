"""Work that is done once for all who ask for the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import TypeVar

Made = TypeVar("Made")


def made_once(kept: int, seconds: float) -> Callable[[Callable[..., Made]], Callable[..., Made]]:
    """Like `lru_cache`, for threads and for a while: who asks for what another one is making waits for it.

    Args:
        kept: how many results are remembered.
        seconds: for how long at most; what could not be read when it was made may be readable then.
    """

    def decorate(make: Callable[..., Made]) -> Callable[..., Made]:
        @lru_cache(kept)
        def remembered(_period: int, *arguments: Hashable) -> Made:
            return make(*arguments)

        @lru_cache(kept)
        def lock_of(*_arguments: Hashable) -> threading.Lock:
            return threading.Lock()

        @wraps(make)
        def made(*arguments: Hashable) -> Made:
            with lock_of(*arguments):
                return remembered(int(time.monotonic() / seconds), *arguments)

        return made

    return decorate
