"""Published beside measured: what papers report for the settings of a study, next to its own cells."""

from __future__ import annotations

import math
from string import ascii_lowercase
from typing import Any

from ccar.evidence.frames import rows_of
from ccar.evidence.published import published_rows
from ccar.evidence.result_rows import ResultRow
from ccar.reports.finding import recipes_of
from ccar.reports.results import Results
from ccar.reports.table import Column, Entry, Row, Table
from ccar.reports.wording import MISSING, counted, listed, percent, points
from ccar.study.parts import plain

DAGGER = "†"


def published_table(results: Results) -> Table | None:
    """One row per published row and measured cell like it; None where there is no such pair.

    Nothing is ranked: the recipes differ, and each published number carries its dagger and its own recipe.
    """
    pairs = results.published
    measured = pairs[pairs["n"] > 0]
    if measured.empty:
        return None
    methods = dict(zip(results.cells["cell"], results.cells["method"], strict=True))
    planned = dict(zip(results.cells["cell"], results.cells["planned"], strict=True))
    notes = _Notes()
    rows: list[Row] = []
    for setting in results.settings:
        for index, pair in enumerate(rows_of(setting.of(measured))):
            row = published_rows()[pair.row]
            entries = (
                Entry(setting.label if index == 0 else ""),
                Entry(_name(row)),
                Entry(", ".join(part for part in (row.paper, row.table) if part)),
                Entry(f"{row.overall} {notes.marks(row)}"),
                Entry(methods[pair.cell]),
                Entry(_measured(pair, planned[pair.cell])),
                Entry(points(pair.gap)),
                Entry(_in_sd(pair.gap_in_sd), tone="quiet" if math.isnan(pair.gap_in_sd) else ""),
            )
            rows.append(Row(entries, starts_block=index == 0 and bool(rows)))
    return Table(
        name="published",
        caption=_caption(results, num_others=pairs[pairs["n"] == 0]["row"].nunique()),
        columns=(
            Column("", numeric=False),
            Column("method", "published", numeric=False),
            Column("in", "published", numeric=False),
            Column("accuracy", "published"),
            Column("method", "measured", numeric=False),
            Column("accuracy", "measured"),
            Column("points", "gap"),
            Column("sd", "gap"),
        ),
        rows=tuple(rows),
        notes=notes.texts,
    )


def _caption(results: Results, num_others: int) -> str:
    recipes = listed(recipes_of(results.cells))
    validation = results.cells["validation_per_class"].iloc[0]  # one for all cells of a study
    sentences = [
        f"Published beside measured. {DAGGER}: a number from a paper, trained by the recipe of that letter (below the "
        f"table) and not by that of this study ({recipes}), so the two are not ranked.",
        "Overall accuracies in per cent, measured ones as mean ± standard deviation over seeds.",
        "Gap: measured minus published, in percentage points and in standard deviations of the measured seeds "
        f"({MISSING}: one seed, or no spread).",
        "In brackets: why the published number is disputed, or that it is not verified.",
    ]
    if validation not in ("0", "own"):
        sentences.append(f"This study trains on fewer images: {validation} per class are held out for validation.")
    if num_others:
        rows = counted(num_others, "more published row has", "more published rows have")
        sentences.append(f"{rows} no finished cell of this study beside.")
    return " ".join(sentences)


class _Notes:
    """What stands below the table: recipes by letter, reasons by number. Equal ones share theirs."""

    def __init__(self) -> None:
        self._recipes: dict[str, str] = {}
        self._reasons: dict[str, int] = {}

    def marks(self, row: ResultRow) -> str:
        """The dagger with the letter of the recipe, and the numbers of what is to be said: `†a [1, 2]`."""
        letter = self._recipes.setdefault(_recipe(row), _letter(len(self._recipes)))
        said = [f"disputed: {row.disputed}"] if row.disputed else []
        if not row.verified:
            said.append(f"not verified in its source ({row.source})")
        numbers = [str(self._reasons.setdefault(reason, len(self._reasons) + 1)) for reason in said]
        return f"{DAGGER}{letter}" + (f" [{', '.join(numbers)}]" if numbers else "")

    @property
    def texts(self) -> tuple[str, ...]:
        recipes = [f"{DAGGER}{letter} recipe: {recipe}." for recipe, letter in self._recipes.items()]
        return (*recipes, *(f"[{number}] {reason}." for reason, number in self._reasons.items()))


def _letter(index: int) -> str:
    """a to z, then aa, ab, ...

    Example:
        >>> _letter(0), _letter(25), _letter(26), _letter(53)
        ('a', 'z', 'aa', 'bb')
    """
    first, last = divmod(index, len(ascii_lowercase))
    return (ascii_lowercase[first - 1] if first else "") + ascii_lowercase[last]


def _name(row: ResultRow) -> str:
    return row.method if row.omega is None else f"{row.method} (ω = {plain(row.omega)})"


def _recipe(row: ResultRow) -> str:
    parts = [f"{row.epochs} epochs" if row.epochs else "", row.augmentation, row.selection]
    stated = "; ".join(part for part in parts if part)
    if row.protocol:
        return f"said to be that of arXiv:{row.protocol}"
    return stated or "not known"


def _measured(pair: Any, planned: int) -> str:  # noqa: ANN401  (a row of a frame)
    text = percent(pair.measured_mean, pair.measured_sd)
    return text if pair.n == planned else f"{text} (n = {pair.n})"


def _in_sd(gap: float) -> str:
    return MISSING if math.isnan(gap) else f"{gap:+.1f}".replace("-", "−")
