"""What to train with: each chosen loss as a study file and as `ccar.losses.build_loss` take it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from ccar.evidence.cells import PRIMARY
from ccar.evidence.frames import rows_of
from ccar.evidence.selection import CRITERION
from ccar.reports.results import Results

_HEAD = """\
# For each data set, imbalance factor and base loss: the omega that was chosen on validation images.
# study: an entry for methods.extra of a study file.
# build_loss: ccar.losses.build_loss(class_counts=..., **build_loss) in a training script of your own.
# tied: so many candidates share the best mean on validation, this one included; above 1, the tie rule chose among them.
# loss_factor: multiplies the loss of build_loss; study has it too.
# verdict: of its balanced test accuracy against the plain base loss. What is not better may be left out.
"""


def recommendations(results: Results) -> list[dict[str, Any]]:
    """One mapping of plain values per choice; none where nothing could be chosen."""
    return [_recommendation(results, row) for row in rows_of(results.choices)]


def render_best_omega(results: Results) -> str:
    """best_omega.yaml."""
    content = {
        "study_name": results.source.study,
        "missing_validation": not results.has_validation,
        "recommendations": recommendations(results),
    }
    return _HEAD + yaml.safe_dump(content, sort_keys=False, width=100, default_flow_style=None)


def _recommendation(results: Results, row: Any) -> dict[str, Any]:  # noqa: ANN401  (a row of a frame)
    configuration = results.source.configurations[row.cell]
    return {
        "data": row.data,
        "imbalance_factor": configuration["data"]["imbalance_factor"],
        "family": row.family,
        "method": row.method,
        "seeds": row.val_balanced_accuracy_n,
        "tied": row.tied,
        "validation_balanced_accuracy": round(getattr(row, f"{CRITERION}_mean"), 4),
        "test_accuracy": round(row.test_accuracy_mean, 4) if row.test_accuracy_n else None,
        "test_balanced_accuracy": round(getattr(row, f"{PRIMARY}_mean"), 4) if getattr(row, f"{PRIMARY}_n") else None,
        "gain_over_plain": None if math.isnan(row.versus_plain_mean) else round(row.versus_plain_mean, 4),
        "verdict": row.versus_plain_verdict if isinstance(row.plain_cell, str) else None,
        "study": dict(results.source.entries[row.cell]),
        "build_loss": _arguments(configuration),
        "loss_factor": configuration["loss_factor"],
    }


def _arguments(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `build_loss`, without the class counts."""
    loss = dict(configuration["loss"])
    return {
        "base": loss.pop("name"),
        **loss,
        "reweighting": configuration["reweighting"],
        "reduction": configuration["reduction"],
    }
