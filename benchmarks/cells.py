"""What was measured, as cells of a table; also what could not be."""

from __future__ import annotations

from collections.abc import Callable


def cells_of(measure: Callable[[], tuple[str, ...]], number: int) -> tuple[str, ...]:
    """So many cells: what `measure` gives, or its error in the first of them, which ends nothing else."""
    try:
        cells = measure()
    except Exception as error:  # what a device cannot do is a result, too
        cells = (in_a_cell(error),)
    return (*cells, *[""] * (number - len(cells)))


def row_of(*cells: object) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"


def in_a_cell(error: BaseException) -> str:
    """The first line of an error, without what would end a cell of a table."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".replace("|", "/")[:200]
