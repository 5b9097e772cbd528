"""What MLflow is to show of a study as a whole, beside its trials: tags of its parent run, as plain values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

_LIMIT = 500  # characters: they are read in a list


def question_of(definition: str) -> str:
    """What a study asks, by its file; "" where that does not say."""
    try:
        return str(yaml.safe_load(definition)["question"]).strip()[:_LIMIT]
    except (yaml.YAMLError, KeyError, TypeError):
        return ""


def report_tags(report: str) -> dict[str, str]:
    """What a study has found so far: the best omega at each imbalance factor by validation, and its hours.

    Args:
        report: the text of its report.json.
    """
    found = json.loads(report)
    best = "; ".join(map(_best_text, _best_ones(found["recommendations"])))
    hours = {"ccar.hours": f"{found['costs']['hours']:.6g}"}
    return hours | ({"ccar.best": best[:_LIMIT]} if best else {})


def _best_ones(recommended: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    best: dict[tuple[str, Any], Mapping[str, Any]] = {}
    for one in recommended:
        place = one["data"], one["imbalance_factor"]
        if place not in best or one["validation_balanced_accuracy"] > best[place]["validation_balanced_accuracy"]:
            best[place] = one
    return best.values()


def _best_text(one: Mapping[str, Any]) -> str:
    factor = one["imbalance_factor"]
    where = f"IF {factor:g}" if isinstance(factor, int | float) else str(factor)
    return f"{where}: {one['method']} {100 * one['validation_balanced_accuracy']:.2f} %"
