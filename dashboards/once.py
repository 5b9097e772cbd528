"""Work that is done once for all who ask for the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import TypeVar

Made = TypeVar("Made")


def made_once(kept: int) -> Callable[[Callable[..., Made]], Callable[..., Made]]:
    """Like `lru_cache`, for threads: who asks for what another one is making waits for it.

    Args:
        kept: how many results are remembered.
    """

    def decorate(make: Callable[..., Made]) -> Callable[..., Made]:
        remembered = lru_cache(kept)(make)

        @lru_cache(kept)
        def lock_of(*_arguments: Hashable) -> threading.Lock:
            return threading.Lock()

        @wraps(make)
        def made(*arguments: Hashable) -> Made:
            with lock_of(*arguments):
                return remembered(*arguments)

        return made

    return decorate
