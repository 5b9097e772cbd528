"""The short form of a report, for the terminal: what was chosen, what it is worth, how sure that is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ccar.evidence.cells import PRIMARY
from ccar.evidence.significance import NOT_JUDGED
from ccar.reports import finding
from ccar.reports.neutralise import one_line
from ccar.reports.results import Results, Setting
from ccar.reports.wording import MISSING, percent, points

TITLE = "Balanced test accuracy after the last epoch in %, 95 % interval"
_STAR = " *"
_STYLES = {"better": "green", "worse": "red"}
_SHORT: dict[str, str] = {"too few seeds to tell": "too few seeds", NOT_JUDGED: "not judged"}


def terminal_table(results: Results) -> list[RenderableType]:
    """One compact table per study, and the sentences that a reader must not miss.

    Rows are base losses, imbalance factor by imbalance factor: accuracy plain, the omega chosen on validation,
    accuracy at it, and the difference between the two, paired by seed. A method without any omega has its
    difference to the baseline there, with a star. A study without any omega has its methods
    as rows, with their difference to the baseline. n stands below a number where seeds are missing. Fits 80 columns
    for the names that ccar gives; longer ones wrap.
    """
    has_omegas = bool(results.cells["omega"].notna().any())
    rows_of = _base_losses if has_omegas else _methods
    rows = {setting: list(rows_of(results, setting)) for setting in results.settings}
    title = Text(f"{TITLE} (* baseline)", style="bold")
    if has_omegas:
        starred = any(_STAR in difference.plain for own in rows.values() for _, (*_, difference, _) in own)
        star = "* baseline, or difference to it" if starred else "* baseline"
        title = Text(f"{TITLE}\ndifference: at omega minus plain of its row ({star})", style="bold")
    parts: list[RenderableType] = [title, Text(), _table(rows, has_omegas=has_omegas), Text()]
    warnings = [finding.no_choice(results), finding.seeds_warning(results), finding.ties(results)]
    sentences = [
        finding.what_did_not_finish(results),
        finding.multiplicity(results),
        finding.seeds_to_settle(results),
        finding.claimed_by_test_picking(results),
    ]
    parts += [_text(warning, style="red") for warning in warnings if warning]
    parts += [_text(sentence) for sentence in sentences if sentence]
    return parts


def _table(rows: Mapping[Setting, Iterable[_NameAndNumbers]], *, has_omegas: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("base loss" if has_omegas else "method")
    for heading in ("plain", "omega", "at omega") if has_omegas else ("accuracy",):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("difference" if has_omegas else "to the baseline", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for setting, own in rows.items():
        table.add_section()
        table.add_row(Text(one_line(setting.label), style="bold"))
        for name, numbers in own:
            table.add_row(name, *numbers)
    return table


def _base_losses(results: Results, setting: Setting) -> Iterator[_NameAndNumbers]:
    cells, choices = setting.of(results.cells), setting.of(results.choices)
    planned = choices["cell"].map(cells.set_index("cell")["planned"])
    choices = choices.assign(planned=planned).set_index("family")
    for family in dict.fromkeys(cells["family"]):
        plain = cells[(cells["family"] == family) & cells["omega"].isna()].head(1)
        is_baseline = bool(plain["is_baseline"].any())
        name, accuracy = _name(family, is_baseline=is_baseline), Text(MISSING)
        if len(plain):
            accuracy = _accuracy(plain.iloc[0])
        if family in choices.index:
            chosen = choices.loc[family]
            omega = Text(f"{chosen['omega']:g}")
            yield name, [accuracy, omega, _accuracy(chosen), *_difference(chosen, "versus_plain_")]
        elif len(plain) and not is_baseline:
            to_baseline = _difference(plain.iloc[0], f"{PRIMARY}_difference_", mark=_STAR)
            yield name, [accuracy, *[Text(MISSING)] * 2, *to_baseline]
        else:
            yield name, [accuracy, *[Text(MISSING)] * 3, Text("")]


def _methods(results: Results, setting: Setting) -> Iterator[_NameAndNumbers]:
    for _, cell in setting.of(results.cells).iterrows():
        name = _name(cell["method"], is_baseline=bool(cell["is_baseline"]))
        yield name, [_accuracy(cell), *_difference(cell, f"{PRIMARY}_difference_")]


def _accuracy(row: pd.Series[Any]) -> Text:
    text = percent(row[f"{PRIMARY}_mean"], row[f"{PRIMARY}_half_width"])
    return Text(text + _missing(row[f"{PRIMARY}_n"], row["planned"]))


def _difference(row: pd.Series[Any], prefix: str, mark: str = "") -> list[Text]:
    verdict = str(row[f"{prefix}verdict"])
    if not row[f"{prefix}n"]:
        return [Text(MISSING), Text(_SHORT[verdict] if verdict == NOT_JUDGED else "", style="dim")]
    difference, half_width = points(row[f"{prefix}mean"]), row[f"{prefix}high"] - row[f"{prefix}mean"]
    text = difference if math.isnan(half_width) else f"{difference} ± {100 * half_width:.2f}"
    return [
        Text(text + mark + _missing(row[f"{prefix}n"], row["planned"])),
        Text(_SHORT.get(verdict, verdict), style=_STYLES.get(verdict, "dim")),
    ]


def _missing(n: float, planned: int) -> str:
    """The seeds behind a number where they are fewer than planned: below it, since a line has no room for more."""
    return f"\n(n = {n:.0f})" if 0 < n < planned else ""


def _name(name: str, *, is_baseline: bool) -> _Name:
    return _Name(one_line(name) + (_STAR if is_baseline else ""))


class _Name:
    """A name that is broken where its parts meet: before a bracket, after _, + or a blank; elsewhere only in need."""

    def __init__(self, name: str) -> None:
        self._parts = re.split(r"(?<=[_+ ])(?!\*$)|(?=\()", name)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widths = [cell_len(part) for part in self._parts]
        return Measurement(max(widths), sum(widths))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [""]
        for part in self._parts:
            if lines[-1] and cell_len((lines[-1] + part).rstrip()) > options.max_width:
                lines.append("")
            lines[-1] += part
        yield Text("\n".join(line.rstrip() for line in lines), overflow="fold")


_NameAndNumbers = tuple[_Name, list[Text]]


def _text(text: str, style: str = "") -> Text:
    """Never as mark-up, never with control characters: names come from users."""
    return Text(one_line(text), style=style)
