"""report.json: everything, in full precision, for other programs; see `ccar.reports.report_file`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ccar.evidence.published import published_rows
from ccar.reports.content import Content
from ccar.reports.recommendation import recommendations
from ccar.reports.report_file import SCHEMA_VERSION
from ccar.reports.report_input import library_versions
from ccar.reports.results import Results
from ccar.reports.tables.machines import machines_of
from ccar.store.key import code_digest

_OVER_1000 = "over 1000"


def render_json(results: Results, content: Content) -> str:
    """The report as JSON; a line for each row, so that two of them can be compared line by line."""
    source, costs, ranks = results.source, results.costs, results.ranks
    document = {
        "schema_version": SCHEMA_VERSION,
        "study": content.study,
        "question": content.question,
        "baseline": source.baseline,
        "missing_validation": not results.has_validation,
        "summary": content.was_run,
        "not_finished": content.not_finished,
        "warnings": content.warnings,
        "findings": [dataclasses.asdict(finding) for finding in content.findings],
        "certainty": content.certainty,
        "method_note": content.method_note,
        "recommendations": recommendations(results),
        "choices": json_rows(results.choices),
        "optimism": json_rows(results.optimism),
        "flat_region": dict(zip(results.flat.index, _values(results.flat), strict=True)),
        "shape_and_scale": json_rows(results.shape_and_scale),
        "published": _published(results.published),
        "ranks": None if ranks is None else {**dataclasses.asdict(ranks), "mean": ranks.mean.to_dict()},
        "cells": [
            {**row, "configuration": _without_seed(source.configurations[row["cell"]])}
            for row in json_rows(results.cells)
        ],
        "trials": json_rows(results.trials),
        "figures": [{"name": figure.name, "caption": figure.caption} for figure in content.figures],
        "provenance": {
            "ccar": content.version,
            "training_code": code_digest(),
            "libraries": library_versions(),
            "study_file": source.study_file,
        },
        "costs": {
            "hours": costs.hours,
            "hours_by_device": costs.hours_by_device,
            "num_from_store": costs.num_from_store,
            "hours_from_store": costs.hours_from_store,
            "num_stopped": costs.num_stopped,
            "hours_spared_by_stopping": costs.hours_spared_by_stopping,
            "claims": json_rows(results.claims),
            "trials": json_rows(source.costs),
        },
        "machines": json_rows(machines_of(source.costs)),
    }
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {_lines(value)}" for key, value in document.items()) + "\n}\n"


def _lines(value: object) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(_json(row) for row in value) + "\n]"
    return _json(value)


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as the plain values of report.json."""
    names = list(frame.columns)
    columns = [_values(frame[name]) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(column: pd.Series[Any]) -> list[Any]:
    plain = column.astype(object).where(column.notna(), None).tolist()
    if column.dtype == np.float64 and np.isinf(column).any():  # only numbers of seeds have no bound
        return [_OVER_1000 if value == math.inf else value for value in plain]
    return plain


def _published(pairs: pd.DataFrame) -> list[dict[str, Any]]:
    known = published_rows()
    rows = []
    for pair in json_rows(pairs):
        row = known[pair.pop("row")]
        source = {name: getattr(row, name) for name in ("method", "paper", "arxiv", "table", "verified", "disputed")}
        rows.append({**pair, **source, "published": float(row.overall) / 100})
    return rows


def _without_seed(configuration: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in configuration.items() if name != "seed"}
    stage_one = rest["stage_one"]
    return rest if stage_one is None else {**rest, "stage_one": _without_seed(stage_one)}
