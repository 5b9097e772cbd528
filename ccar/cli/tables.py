"""Rows as a table for the terminal."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from ccar.reports.neutralise import one_line


def rows_as_table(rows: Sequence[Mapping[str, object]]) -> str:
    """A plain table of rows that have the same keys; the keys are its header. Numbers are aligned right.

    Names come from users: control characters are marked.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(one_line(str(value)) for value in row.values()))
    text = io.StringIO()
    console = Console()
    Console(file=text, width=console.width if console.is_terminal else 160, markup=False).print(table)
    return text.getvalue()
