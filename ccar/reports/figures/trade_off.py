"""Head against tail: what a method gains on rare classes, and what it pays for it on frequent ones."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccar.evidence.frames import rows_of
from ccar.evidence.trade_off import GROUPS, undominated
from ccar.reports.figures.style import NEUTRAL, WIDTH, ReportFigure, legend_below, look_of
from ccar.reports.results import Results

MAX_COLUMNS = 3


def trade_off(results: Results) -> ReportFigure | None:
    """One panel per imbalance factor that has classes of at least two sizes; None without one."""
    panels = []
    for setting in results.settings:
        here = setting.of(results.cells)
        groups = [group for group in GROUPS if here[f"{group}_mean"].notna().any()]
        if len(groups) > 1:
            panels.append((setting, here[here[f"{groups[0]}_mean"].notna()], groups[0], groups[-1]))
    if not panels:
        return None
    columns = min(MAX_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = WIDTH if columns > 1 else 4.8
    figure = Figure(figsize=(width, 2.7 * rows + 0.8), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for panel in grid.flat[len(panels) :]:
        panel.set_visible(False)
    families = list(dict.fromkeys(results.cells["family"]))
    chosen = set(results.choices["cell"])
    for axes, (setting, cells, head, tail) in zip(grid.flat, panels, strict=False):
        _draw(axes, cells, head, tail, families, chosen)
        axes.set_title(setting.label)
        axes.set_xlabel(f"{_shot(head)} accuracy (%)")
        axes.set_ylabel(f"{_shot(tail)} accuracy (%)")
    looks = [look_of(index) for index in range(len(families))]
    handles = [Line2D([], [], linestyle="", marker=marker, color=colour) for colour, marker in looks]
    kinds = {
        "plain base loss": Line2D([], [], linestyle="", marker="o", color=NEUTRAL, markerfacecolor="#FFFFFF"),
        "another ω": Line2D([], [], linestyle="", marker="o", color=NEUTRAL, markersize=2.5),
        "on the Pareto front": Line2D(
            [], [], linestyle="", marker="o", color="#000000", markersize=9, fillstyle="none"
        ),
    }
    if not results.cells["omega"].notna().any():
        del kinds["another ω"]
    legend_below(figure, [*handles, *kinds.values()], [*families, *kinds])
    return ReportFigure(
        name="trade_off",
        caption="Accuracy on frequent classes against accuracy on rare ones, mean over the seeds, on the test set. "
        "Filled: a base loss with the ω chosen on validation. Ringed: on the Pareto front, that is, no other method "
        "here is at least as good on classes with many, medium and few training images and better on one of the "
        "three. Faint: seeds are missing, so that it is not on the front and keeps no other one off. Many: more than "
        "100 training images, few: less than 20; where no class is of one of these sizes, the medium ones stand in.",
        alt="Scatter plot of many-shot against few-shot accuracy",
        figure=figure,
    )


def _shot(group: str) -> str:
    return f"{group.removeprefix('test_')}-shot"


def _draw(axes: Axes, cells: pd.DataFrame, head: str, tail: str, families: list[str], chosen: set[str]) -> None:
    for cell, on_front in zip(rows_of(cells), undominated(cells), strict=True):
        colour, marker = look_of(families.index(cell.family))
        x, y = 100 * getattr(cell, f"{head}_mean"), 100 * getattr(cell, f"{tail}_mean")
        is_plain, is_chosen = math.isnan(cell.omega), cell.cell in chosen
        axes.plot(
            x,
            y,
            marker,
            color=colour,
            markerfacecolor="#FFFFFF" if is_plain else colour,
            markersize=5.0 if is_plain or is_chosen else 2.5,
            zorder=4 if is_chosen else 3,
            alpha=1.0 if cell.finished == cell.planned else 0.35,
        )
        if on_front:
            axes.plot(x, y, "o", color="#000000", markersize=9, fillstyle="none", markeredgewidth=0.8, zorder=2)
