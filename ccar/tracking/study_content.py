"""What MLflow is to show of a study as a whole, beside its trials: tags of its parent run, as plain values."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import yaml

from ccar.store.records import StudyRecord

_LIMIT = 500  # characters: they are read in a list


@lru_cache(maxsize=1)  # of 10,000 trials it takes 60 ms, and who follows a study asks every 2 s
def digest_of_plan(study: StudyRecord) -> str:
    """Changes when the study's file or trials do; submitting it again changes nothing."""
    plan = {**dataclasses.asdict(study), "submitted_at": None}
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()


def question_of(definition: str) -> str:
    """What a study asks, by its file; "" where that does not say."""
    try:
        return str(yaml.safe_load(definition)["question"]).strip()[:_LIMIT]
    except (yaml.YAMLError, KeyError, TypeError):
        return ""


def report_tags(report: bytes) -> dict[str, str]:
    """What a study has found so far: the best omega at each imbalance factor by validation, and its hours.

    Args:
        report: its report.json; one that is cut off, or somebody else's, has nothing to say.
    """
    try:
        found = json.loads(report)
        best = "; ".join(map(_best_text, _best_ones(found["recommendations"])))
        hours = f"{found['costs']['hours']:.6g}"
    except (ValueError, KeyError, TypeError):
        return {}
    return {"ccar.hours": hours} | ({"ccar.best": best[:_LIMIT]} if best else {})


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
