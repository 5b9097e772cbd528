"""`ccar compare`: what two studies, or two runs of one, agree on, and what differs by more than noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ccar.cli.places import Places
from ccar.cli.study_view import StudyView
from ccar.cli.tables import rows_as_table
from ccar.errors import UserError
from ccar.evidence.cells import PRIMARY
from ccar.evidence.comparison import CELL, compare_studies
from ccar.evidence.frames import FIELD, rows_of
from ccar.reports.content import content_of
from ccar.reports.formats.json_file import json_rows, render_json
from ccar.reports.neutralise import one_line
from ccar.reports.report_file import Report, read_report
from ccar.reports.results import setting_label, summarise
from ccar.reports.wording import MISSING, counted, interval, percent, points
from ccar.study.plan import differing_parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two studies beside each other.

    Attributes:
        names: of the two, as they were asked for.
        cells: from `compare_studies`.
        only: methods that only the first, only the second has, with their setting.
        seeds: that only the first, only the second has.
        settings: what of the configuration of shared cells differs, and in how many of them.
        choices: for each base loss and setting in both: the omega that each study chose.
    """

    names: tuple[str, str]
    cells: pd.DataFrame
    only: tuple[list[str], list[str]]
    seeds: tuple[list[int], list[int]]
    settings: dict[str, int]
    choices: pd.DataFrame


def open_report(path: Path, places: Places) -> Report:
    """The report of a study file as the store has it now, or the one that a report.json or its folder holds.

    Raises:
        UserError: it cannot be read.
    """
    if path.is_dir() or path.suffix == ".json":
        return read_report(path)
    if not path.exists():
        raise UserError(f"there is no {path}", hint="give a study file, a report.json, or the folder of a report")
    view = StudyView.open(path, places)
    results = summarise(view.report_input(view.source().known))
    return Report.model_validate_json(render_json(results, content_of(results, [])))


def compare_reports(first: Report, second: Report, names: tuple[str, str]) -> Comparison:
    """Compare what two reports have in common.

    Raises:
        UserError: they have no cell in common.
    """
    trials = [pd.DataFrame([trial.model_dump() for trial in report.trials]) for report in (first, second)]
    cells = [{_cell_of(cell.model_dump()): cell.configuration for cell in report.cells} for report in (first, second)]
    shared = [cell for cell in cells[0] if cell in cells[1]]
    if not shared:
        raise UserError(
            f"{names[0]} and {names[1]} have no cell in common",
            hint="cells are compared where data set, imbalance factor and method are the same",
        )
    seeds = [{trial.seed for trial in report.trials} for report in (first, second)]
    differing = [differing_parts(cells[0][cell], cells[1][cell]) for cell in shared]
    columns = [*FIELD, "method", "omega"]
    choices = [
        pd.DataFrame([choice.model_dump() for choice in report.choices], columns=columns) for report in (first, second)
    ]
    return Comparison(
        names=names,
        cells=compare_studies(*(each.assign(**{PRIMARY: each[PRIMARY].astype("float64")}) for each in trials)),
        only=(
            [_name(cell) for cell in cells[0] if cell not in cells[1]],
            [_name(cell) for cell in cells[1] if cell not in cells[0]],
        ),
        seeds=(sorted(seeds[0] - seeds[1]), sorted(seeds[1] - seeds[0])),
        settings=dict(Counter(str(part) for parts in differing for part in parts)),
        choices=choices[0].merge(choices[1], on=FIELD, suffixes=("_first", "_second")),
    )


def comparison_text(found: Comparison) -> str:
    """The comparison for people: names come from reports of others."""
    first, second = map(one_line, found.names)
    cells = found.cells
    verdicts = Counter(cells["verdict"])
    lines = [f"A  {first}", f"B  {second}", "", f"{counted(len(cells), 'cell')} in both"]
    lines += [f"  {number:>4} {verdict}" for verdict, number in verdicts.items()]
    for side, only, seeds in zip("AB", found.only, found.seeds, strict=True):
        if only:
            lines.append(f"only in {side}: {one_line(_few(only))}")
        if seeds:
            lines.append(
                f"only in {side}: {'seed' if len(seeds) == 1 else 'seeds'} {_few([str(seed) for seed in seeds])}"
            )
    lines += [""] + [
        f"configuration, in {number} of {len(cells)}: {one_line(part)}" for part, number in found.settings.items()
    ]
    if not found.settings:
        lines.append("configuration: the same in all of these cells, but for seeds and images")
    for choice in rows_of(found.choices):
        setting = one_line(f"{setting_label(choice.imbalance_factor)} {choice.family}")
        methods = f"A {one_line(choice.method_first)}, B {one_line(choice.method_second)}"
        same = choice.method_first == choice.method_second
        lines.append(
            f"chosen omega, {setting}: {choice.omega_first:g} in both"
            if same
            else f"chosen omega, {setting}: {methods}"
        )
    rows = [
        {
            "": f"{setting_label(row.imbalance_factor)} {row.method}",
            "A": percent(row.first_mean),
            "B": percent(row.second_mean),
            "B - A (points)": points(row.mean),
            "95 % interval": interval(row.low, row.high) or MISSING,
            "pairs": f"{row.shared}" if row.shared else "not paired",
            "B is": row.verdict,
        }
        for row in rows_of(cells)
        if row.verdict != "same trials"
    ]
    if not rows:
        return "\n".join([*lines, "", "every trial that both have finished is the same one, with the same key"])
    lines += [
        "",
        "Balanced test accuracy in %, over the seeds of both where there are pairs; verdicts are corrected for all of",
        "these comparisons (Holm).",
        rows_as_table(rows),
    ]
    return "\n".join(lines).rstrip("\n")


def comparison_json(found: Comparison) -> dict[str, Any]:
    """The comparison as plain JSON."""
    return {
        "studies": list(found.names),
        "cells": json_rows(found.cells),
        "only_in_first": found.only[0],
        "only_in_second": found.only[1],
        "seeds_only_in_first": found.seeds[0],
        "seeds_only_in_second": found.seeds[1],
        "configuration": found.settings,
        "choices": json_rows(found.choices),
    }


def _cell_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in CELL)


def _name(cell: tuple[str, ...]) -> str:
    _, factor, method = cell
    return f"{setting_label(factor)} {method}"


def _few(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
