"""Entries that several tables share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from ccar.evidence.frames import FIELD, rows_of
from ccar.evidence.intervals import LEVEL
from ccar.evidence.significance import NOT_JUDGED
from ccar.reports.results import Results
from ccar.reports.table import Entry, Row, Tone
from ccar.reports.wording import MISSING, counted, interval, lacking, more_seeds, percent, points

TONES: dict[str, Tone] = {"better": "good", "worse": "bad"}
PERCENT_LEVEL = f"{LEVEL:.0%}".replace("%", " %")
VERDICT_NOTE = (
    "Better and worse (*): p at most 0.05 after Holm's correction for all of these comparisons. Within noise: the "
    "interval includes 0. Not judged: seeds of one of the two were stopped early or diverged, and those that are left "
    "are the lucky ones. Too few seeds to tell: the rest. In brackets: so many more seeds would probably (80 % power) "
    "settle an effect of the estimated size (Hedges' g); no number above 1,000."
)


def estimate(row: Any, metric: str, planned: int, *, bold: bool = False) -> Entry:  # noqa: ANN401  (a row of a frame)
    """A mean in per cent with the half width of its interval, and n where fewer seeds than planned have finished."""
    n = getattr(row, f"{metric}_n")
    if not n:
        return Entry(MISSING, tone="quiet")
    text = percent(getattr(row, f"{metric}_mean"), getattr(row, f"{metric}_half_width"))
    return Entry(text + lacking(n, planned), bold=bold)


def difference_entries(row: Any, prefix: str, planned: int) -> list[Entry]:  # noqa: ANN401  (a row of a frame)
    """Two entries: a difference in points with its interval, starred if significant; its verdict, seeds to settle."""
    mean, low, high, n, verdict, more = (
        getattr(row, prefix + part) for part in ("mean", "low", "high", "n", "verdict", "more_seeds")
    )
    if not n:
        return [Entry(MISSING, tone="quiet"), Entry(verdict if verdict == NOT_JUDGED else "", tone="quiet")]
    beside = [part for part in (interval(low, high), f"n = {n}" if n < planned else "") if part]
    text = f"{points(mean)} ({', '.join(beside)})" if beside else points(mean)
    seeds = more_seeds(more)
    return [
        Entry(f"{text} *" if verdict in TONES else text),
        Entry(f"{verdict} ({seeds})" if seeds else verdict, tone=TONES.get(verdict, "quiet")),
    ]


def rows_by_setting(
    results: Results, frame: pd.DataFrame, entries_of: Callable[[Any], Sequence[Entry]]
) -> tuple[Row, ...]:
    """A row of the table per row of the frame; the first of each setting has its label, and a line above."""
    rows: list[Row] = []
    for setting in results.settings:
        for index, row in enumerate(rows_of(setting.of(frame))):
            label = Entry(setting.label if index == 0 else "")
            rows.append(Row((label, *entries_of(row)), starts_block=index == 0 and bool(rows)))
    return tuple(rows)


def needs_method(results: Results) -> bool:
    """Whether omega alone does not tell the candidates of a base loss apart."""
    reweighted = results.cells[results.cells["omega"].notna()]
    return bool(reweighted.duplicated([*FIELD, "omega"]).any())


def num_seeds(results: Results) -> str:
    """How many seeds the cells of the study have."""
    fewest, most = results.cells["planned"].min(), results.cells["planned"].max()
    return counted(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
