"""Colours and markers that colour-blind readers tell apart, on paper as on the screen."""

from __future__ import annotations

# Okabe & Ito (2008), without yellow, which is faint on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
NEUTRAL = "#8A8A8A"


def look_of(index: int) -> tuple[str, str]:
    """Colour and marker of the index-th of many; the pair comes again only after 49."""
    place, rounds = index % len(PALETTE), index // len(PALETTE)
    return PALETTE[place], MARKERS[(place + rounds) % len(MARKERS)]
