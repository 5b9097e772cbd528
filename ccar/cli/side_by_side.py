"""Independent checks of what a command was given, made side by side: all that is wrong is told at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ccar.errors import UserError

T = TypeVar("T")


def load_and_check(load: Callable[[], T], *checks: Callable[[], None]) -> T:
    """What `load` returns, once it and all checks have gone through; together they take as long as the slowest.

    Raises:
        UserError: all that is wrong, each with its hint.
    """
    with ThreadPoolExecutor(1 + len(checks)) as pool:
        loaded = pool.submit(load)
        done: list[Future[Any]] = [loaded, *(pool.submit(check) for check in checks)]
    mistakes = [error for each in done if isinstance(error := each.exception(), UserError)]
    if mistakes:
        raise mistakes[0] if len(mistakes) == 1 else UserError("\n".join(map(_with_hint, mistakes)))
    for each in done:
        each.result()  # raises what is no mistake of the user's
    return loaded.result()


def _with_hint(error: UserError) -> str:
    return f"{error}\n  hint: {error.hint}" if error.hint else str(error)
