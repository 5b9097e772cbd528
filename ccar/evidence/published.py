"""What papers report, beside what was measured: claims with a source, never mixed with measured rows."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pandas as pd

from ccar.data.config import PROTOCOL_NAMES
from ccar.evidence.frames import rows_of, typed_frame
from ccar.evidence.result_rows import ResultRow, read_rows
from ccar.study.methods import END_TO_END

CCAR_ARXIV = "2601.15924"

BESIDE_DTYPES: dict[str, str] = {
    "data": "str",  # of the study, as is imbalance_factor
    "imbalance_factor": "str",
    "row": "int64",  # index into `published_rows()`
    "cell": "str",  # NaN: the study has no cell like it
    "measured_mean": "float64",  # overall test accuracy, as papers print it, after the last epoch, a share
    "measured_sd": "float64",  # over seeds; NaN for one
    "n": "int64",
    "gap": "float64",  # measured - published, as shares
    "gap_in_sd": "float64",  # NaN without a spread
}

# A study names the images, a benchmark the long tail that is cut of them.
_BENCHMARK_OF: dict[str, str] = {images: benchmark for benchmark, images in PROTOCOL_NAMES.items()}

# Of LDAM: "never re-weight". Papers call LDAM with and without DRW two methods, and so must the cells beside them be.
_WITHOUT_DRW = "drw_start=1"

# The switches that the paper does not mention, at what it says or implies.
_OF_THE_PAPER = {
    "frequency": "fraction",
    "phase": "dual",
    "confidence": "adjusted",
    "gradient": "through",
    "keep_z": False,
}


@functools.cache
def published_rows() -> tuple[ResultRow, ...]:
    """Every number of the CCAR paper's Tables II to V, and what the papers of its rows report themselves.

    `verified` is False where a number was not seen in its source or in a listing of it; `disputed` says why a number
    is not to be taken as it stands. Unknown parts of a recipe are left empty.
    """
    text = files("ccar.evidence").joinpath("published.csv").read_text(encoding="utf-8")
    return read_rows(text, "published.csv")


def ccar_paper_rows() -> tuple[ResultRow, ...]:
    """The rows of Tables II to V of the CCAR paper, arXiv:2601.15924."""
    return tuple(row for row in published_rows() if row.arxiv == CCAR_ARXIV)


def beside_measured(cells: pd.DataFrame) -> pd.DataFrame:
    """The published rows of the data sets, imbalance factors and networks that a study has, beside its own cells.

    A cell is like a published row when base loss, procedure, mixing and omega are the same, and all switches that
    papers do not mention have their default. Options of the base loss may differ: papers seldom state them; but LDAM
    has DRW on both sides, or on neither. Two-stage methods start from plain cross-entropy, mixed as the row says.
    Cells whose images or first weights are not those of papers (another order of the classes or size of the images, a
    pretrained network) have no published rows at all. What is never the same for sure is the recipe, which is why each
    side has its own. Only a plain training whose recipe is not the study's stands beside nothing: it is there as
    a control.

    Args:
        cells: from `summarise_cells`, of trials with test results.

    Returns:
        `BESIDE_DTYPES`: one row per published row and cell like it, in the order of the study's settings, then of
        `published_rows()`. A published row that no finished cell is like has one row without measured values.
    """
    rows: list[dict[str, Any]] = []
    comparable = cells[(cells["data_options"] == "") & (cells["model_options"] == "")]
    for (data, factor, model), here in comparable.groupby(["data", "imbalance_factor", "model"], sort=False):
        published = _published_at(_BENCHMARK_OF.get(str(data), str(data)), factor, model)
        by_method = {cell.method: cell for cell in rows_of(here)} if published else {}
        for index, row in published:
            rows += _pairs(row, {"data": data, "imbalance_factor": factor, "row": index}, by_method)
    return typed_frame(rows, BESIDE_DTYPES)


def _published_at(*setting: object) -> list[tuple[int, ResultRow]]:
    return [(index, row) for index, row in enumerate(published_rows()) if row.setting == setting]


def _pairs(row: ResultRow, common: dict[str, Any], by_method: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    alike = [cell for cell in by_method.values() if cell.test_accuracy_n > 0 and _is_like(cell, row, by_method)]
    if not alike:
        yield {**common, "n": 0}
    for cell in alike:
        gap = cell.test_accuracy_mean - float(row.overall) / 100
        yield {
            **common,
            "cell": cell.cell,
            "measured_mean": cell.test_accuracy_mean,
            "measured_sd": cell.test_accuracy_sd,
            "n": cell.test_accuracy_n,
            "gap": gap,
            "gap_in_sd": gap / cell.test_accuracy_sd if cell.test_accuracy_sd > 0 else math.nan,
        }


def _is_like(cell: Any, row: ResultRow, by_method: Mapping[str, Any]) -> bool:  # noqa: ANN401  (a row of a frame)
    """Whether a cell is what the row reports; `by_method`: all cells of its setting, its stage one among them."""
    if cell.procedure != (row.procedure or END_TO_END.name) or not _has_loss_of(cell, row):
        return False
    if isinstance(cell.stage_one, str):
        stage_one = by_method.get(cell.stage_one)  # None: nothing of it has been read yet
        of_papers = replace(row, base="cross_entropy", options="", procedure="", omega=None)
        return not cell.mixing and stage_one is not None and _is_like(stage_one, of_papers, by_method)
    is_control = not row.procedure and cell.own_recipe_changes not in ("", "mixing")
    return cell.mixing == row.mixing and not is_control


def _has_loss_of(cell: Any, row: ResultRow) -> bool:  # noqa: ANN401  (a row of a frame)
    """Whether base loss and Omega are the same, whatever options of the base loss papers do not state."""
    if cell.base != row.base or _has_drw(cell.base_options) != _has_drw(row.options):
        return False
    if (cell.loss_factor, cell.reduction) != (1.0, "mean"):
        return False
    if row.omega is None or math.isnan(cell.omega):
        return row.omega is None and math.isnan(cell.omega)
    switches = all(getattr(cell, name) == value for name, value in _OF_THE_PAPER.items())
    return switches and math.isclose(cell.omega, row.omega)


def _has_drw(options: str) -> bool:
    return _WITHOUT_DRW not in options.split(", ")
