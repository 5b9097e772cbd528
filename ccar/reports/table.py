"""A table before it has a format: headings, rows of text, and what is to stand out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Tone = Literal["", "good", "bad", "quiet"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a table. `tone` colours it where there is colour; the text says the same without."""

    text: str
    bold: bool = False
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column; neighbours with the same `group` share a heading above their own."""

    heading: str
    group: str = ""
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One row; `starts_block` draws a line above it."""

    entries: tuple[Entry, ...]
    starts_block: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with its caption. `name` is an identifier, unique in the report; `notes` stand below the rows."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def has_groups(self) -> bool:
        """Whether there is a second line of headings."""
        return any(column.group for column in self.columns)

    def groups(self) -> Iterator[tuple[str, int, int]]:
        """Heading, first column (from 1) and last column of each group, in order."""
        first = 1
        for heading, columns in groupby(self.columns, key=lambda column: column.group):
            width = len(list(columns))
            yield heading, first, first + width - 1
            first += width
