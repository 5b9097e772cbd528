"""The short form of a report, for the terminal: what was chosen, what it is worth, how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ccar.evidence.cells import PRIMARY
from ccar.evidence.significance import NOT_JUDGED
from ccar.reports import finding
from ccar.reports.neutralise import one_line
from ccar.reports.results import Results, Setting
from ccar.reports.wording import MISSING, percent, points

TITLE = "Balanced test accuracy after the last epoch in %, 95 % interval (* baseline, or difference to it)"
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
    parts: list[RenderableType] = [Text(TITLE, style="bold"), Text(), _table(results), Text()]
    warnings = [finding.no_choice(results), finding.seeds_warning(results)]
    sentences = [
        finding.what_did_not_finish(results),
        finding.multiplicity(results),
        finding.seeds_to_settle(results),
        finding.claimed_by_test_picking(results),
    ]
    parts += [_text(warning, style="red") for warning in warnings if warning]
    parts += [_text(sentence) for sentence in sentences if sentence]
    return parts


def _table(results: Results) -> Table:
    has_omegas = bool(results.cells["omega"].notna().any())
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("base loss" if has_omegas else "method", overflow="fold")
    for heading in ("plain", "omega", "at omega") if has_omegas else ("accuracy",):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("difference" if has_omegas else "to the baseline", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for setting in results.settings:
        table.add_section()
        table.add_row(Text(one_line(setting.label), style="bold"))
        for row in _base_losses(results, setting) if has_omegas else _methods(results, setting):
            table.add_row(*row)
    return table


def _base_losses(results: Results, setting: Setting) -> Iterator[list[Text]]:
    cells, choices = setting.of(results.cells), setting.of(results.choices)
    planned = choices["cell"].map(cells.set_index("cell")["planned"])
    choices = choices.assign(planned=planned).set_index("family")
    for family in dict.fromkeys(cells["family"]):
        plain = cells[(cells["family"] == family) & cells["omega"].isna()].head(1)
        is_baseline = bool(plain["is_baseline"].any())
        row = [_name(family, is_baseline=is_baseline), _accuracy(plain.iloc[0]) if len(plain) else Text(MISSING)]
        if family in choices.index:
            chosen = choices.loc[family]
            omega = Text(f"{chosen['omega']:g}")
            yield [*row, omega, _accuracy(chosen), *_difference(chosen, "versus_plain_")]
        elif len(plain) and not is_baseline:
            to_baseline = _difference(plain.iloc[0], f"{PRIMARY}_difference_", mark=" *")
            yield [*row, *[Text(MISSING)] * 2, *to_baseline]
        else:
            yield [*row, *[Text(MISSING)] * 3, Text("")]


def _methods(results: Results, setting: Setting) -> Iterator[list[Text]]:
    for _, cell in setting.of(results.cells).iterrows():
        name = _name(cell["method"], is_baseline=bool(cell["is_baseline"]))
        yield [name, _accuracy(cell), *_difference(cell, f"{PRIMARY}_difference_")]


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


def _name(name: str, *, is_baseline: bool) -> Text:
    return _text(name) + Text(" *" if is_baseline else "")


def _text(text: str, style: str = "") -> Text:
    """Never as mark-up, never with control characters: names come from users."""
    return Text(one_line(text), style=style)
