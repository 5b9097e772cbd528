"""A drawn figure; apart from what draws it, so that whoever only writes it down need not import matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A figure in the formats of a report, with the words that go with it.

    Attributes:
        name: its file name without an ending.
        caption: what it shows, and of what its intervals are.
        alt: for those who cannot see it.
        width_inches: at the size of type that it was laid out for.
        files: its bytes by ending: png (200 dpi), svg, pdf.
    """

    name: str
    caption: str
    alt: str
    width_inches: float
    files: Mapping[str, bytes]
