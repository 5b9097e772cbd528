"""Gain over omega and frequency source as a heat map: does class frequency matter, and at which omega?"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ccar.evidence.cells import PRIMARY_NAME
from ccar.evidence.frames import rows_of
from ccar.reports.figures.style import WIDTH, ReportFigure
from ccar.reports.results import Results
from ccar.reports.variants import GAIN, by_frequency, frequency_names
from ccar.reports.wording import lacking, points

MAX_PANELS, COLUMNS = 12, 2
COLOURS = "PuOr_r"  # told apart by colour-blind readers; white is no gain
_MARKS = {"better": "▲", "worse": "▼"}


def omega_by_frequency(results: Results) -> ReportFigure | None:
    """One panel per imbalance factor and base loss; None unless some have two omegas and two frequency sources."""
    panels = list(by_frequency(results))
    if not panels:
        return None
    shown = panels[:MAX_PANELS]
    highest = max(float(cells[f"{GAIN}_mean"].abs().max()) for _, _, cells in shown) * 100
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    height = 0.75 + 0.3 * max(frequency_names(cells).nunique() for _, _, cells in shown)
    figure = Figure(figsize=(WIDTH, rows * height + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for panel in grid.flat[len(shown) :]:
        panel.set_visible(False)
    highest = max(highest, 0.01)
    for axes, (setting, family, cells) in zip(grid.flat, shown, strict=False):
        _draw(axes, cells, set(results.choices["cell"]), highest)
        axes.set_title(f"{setting.label}: {family}")
        axes.set_xlabel("pivot ω")
    colours = ScalarMappable(Normalize(-highest, highest), COLOURS)
    figure.colorbar(colours, ax=grid, label="gain (points)", shrink=0.8, aspect=30)
    left_out = len(panels) - len(shown)
    return ReportFigure(
        name="omega_by_frequency",
        caption=f"Gain in {PRIMARY_NAME} over the plain base loss, in percentage points: mean over the seeds, by pivot "
        "ω and source of the class frequency, all other switches as the paper has them. ▲ better, ▼ worse than the "
        "plain base loss by the verdict of the tables. Framed: chosen on validation. n: over fewer seeds than planned. "
        "Empty: not in the study, or without results."
        + (f" {left_out} more base losses or imbalance factors are in cells.csv." if left_out else ""),
        alt="Heat maps of the gain over the plain base loss by omega and frequency source",
        figure=figure,
    )


def _draw(axes: Axes, cells: pd.DataFrame, chosen: set[str], highest: float) -> None:
    frequencies = frequency_names(cells)
    rows, omegas = list(dict.fromkeys(frequencies)), sorted(cells["omega"].unique())
    values = np.full((len(rows), len(omegas)), np.nan)
    axes.grid(visible=False)
    for cell, frequency in zip(rows_of(cells), frequencies, strict=True):
        row, column = rows.index(frequency), omegas.index(cell.omega)
        gain = 100 * getattr(cell, f"{GAIN}_mean")
        values[row, column] = gain
        mark = _MARKS.get(getattr(cell, f"{GAIN}_verdict"), "")
        dark = abs(gain) > 0.65 * highest
        size = 7.0 if len(omegas) <= 6 else 5.0
        n = lacking(getattr(cell, f"{GAIN}_n"), cell.planned)
        text = mark + ("n" if n else "")
        if len(omegas) <= 12:
            text = points(gain / 100) + mark + n.replace(" ", "\n", 1)
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color="#FFFFFF" if dark else "#000000")
        if cell.cell in chosen:
            axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fill=False, edgecolor="#000000", lw=1.6))
    axes.imshow(values, cmap=COLOURS, vmin=-highest, vmax=highest, aspect="auto")
    axes.set_xticks(range(len(omegas)), [f"{omega:g}" for omega in omegas])
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
