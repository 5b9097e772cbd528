"""Entries that several tables share."""

from __future__ import annotations

from typing import Any

from ccar.evidence.intervals import LEVEL
from ccar.reports.results import Results
from ccar.reports.table import Entry, Tone
from ccar.reports.wording import MISSING, counted, interval, more_seeds, percent, points

TONES: dict[str, Tone] = {"better": "good", "worse": "bad"}
PERCENT_LEVEL = f"{LEVEL:.0%}".replace("%", " %")
VERDICT_NOTE = (
    "Better and worse (*): p at most 0.05 after Holm's correction for all of these comparisons. Within noise: the "
    "interval includes 0. Not judged: seeds of one of the two were stopped early or diverged, and those that are left "
    "are the lucky ones. Too few seeds to tell: the rest. In brackets: so many more seeds would probably (80 % power) "
    "settle an effect of the size seen."
)


def estimate(row: Any, metric: str, planned: int, *, bold: bool = False) -> Entry:  # noqa: ANN401  (a row of a frame)
    """A mean in per cent with the half width of its interval, and n where fewer seeds than planned have finished."""
    n = getattr(row, f"{metric}_n")
    if not n:
        return Entry(MISSING, tone="quiet")
    text = percent(getattr(row, f"{metric}_mean"), getattr(row, f"{metric}_half_width"))
    return Entry(text if n == planned else f"{text} (n = {n})", bold=bold)


def difference_entries(row: Any, prefix: str, planned: int) -> list[Entry]:  # noqa: ANN401  (a row of a frame)
    """Two entries: a difference in points with its interval, starred if significant; its verdict, seeds to settle."""
    mean, low, high, n, verdict, more = (
        getattr(row, prefix + part) for part in ("mean", "low", "high", "n", "verdict", "more_seeds")
    )
    if not n:
        return [Entry(MISSING, tone="quiet"), Entry("")]
    beside = [part for part in (interval(low, high), f"n = {n}" if n < planned else "") if part]
    text = f"{points(mean)} ({', '.join(beside)})" if beside else points(mean)
    seeds = more_seeds(more)
    return [
        Entry(f"{text} *" if verdict in TONES else text),
        Entry(f"{verdict} ({seeds})" if seeds else verdict, tone=TONES.get(verdict, "quiet")),
    ]


def num_seeds(results: Results) -> str:
    """How many seeds the cells of the study have."""
    fewest, most = results.cells["planned"].min(), results.cells["planned"].max()
    return counted(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
