"""Accuracy of classes with many, medium and few training images: plain base losses beside their chosen omega."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ccar.evidence.frames import rows_of
from ccar.evidence.significance import MIN_SEEDS
from ccar.metrics.accuracy import Group
from ccar.reports.figures.style import NEUTRAL, PALETTE, WIDTH, ReportFigure, legend_below
from ccar.reports.results import Results, Setting
from ccar.reports.wording import lacking

GROUPS = {**{group: f"{group}-shot" for group in get_args(Group)}, "worst_class": "worst class"}


def group_bars(results: Results) -> ReportFigure | None:
    """A row of panels per imbalance factor, one panel per group; None without test results."""
    shown = {setting: _bars(results, setting) for setting in results.settings}
    shown = {setting: bars for setting, bars in shown.items() if len(bars)}
    groups = [group for group in GROUPS if any(bars[f"test_{group}_mean"].notna().any() for bars in shown.values())]
    if not groups:
        return None
    heights = [0.55 + 0.26 * len(bars) for bars in shown.values()]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.8), layout="constrained")
    grid = figure.subplots(len(shown), len(groups), sharex="col", sharey="row", squeeze=False, height_ratios=heights)
    for row, (setting, bars) in enumerate(shown.items()):
        for column, group in enumerate(groups):
            axes = grid[row, column]
            _draw(axes, bars, group)
            axes.set_title(f"{setting.label}: {GROUPS[group]}")
            axes.set_xlabel("test accuracy (%)")
            axes.xaxis.set_tick_params(labelbottom=True)
            axes.yaxis.set_tick_params(length=0)
    for axes in grid[0]:  # after everything is drawn, since the limits are shared by the panels below
        axes.set_xlim(0, min(max(axes.dataLim.x1, axes.get_xlim()[1]), 100))  # an interval may reach further
    handles = [
        Rectangle((0, 0), 1, 1, facecolor=NEUTRAL, label="plain base loss"),
        Rectangle((0, 0), 1, 1, facecolor=PALETTE[0], label="with the ω chosen on validation"),
    ]
    handles = handles[: 1 + bool(len(results.choices))]
    legend_below(figure, handles, [str(handle.get_label()) for handle in handles])
    return ReportFigure(
        name="groups",
        caption="Test accuracy on classes with many (more than 100), medium and few (less than 20) training images, "
        "and of the class that is recognised worst. Bars and whiskers: mean and its 95 % interval over seeds "
        "(Student's t, cut at 0 and 100; no whisker: fewer than three seeds); n is given where fewer finished than "
        "planned. A panel without bars: no class is of that size."
        + ("" if len(results.choices) else " No ω was chosen, so only plain base losses are shown."),
        alt="Accuracy of many-, medium- and few-shot classes for each base loss, plain and with the chosen omega",
        figure=figure,
    )


def _bars(results: Results, setting: Setting) -> pd.DataFrame:
    """The cells to show, family by family: the plain one, then the chosen one."""
    cells = setting.of(results.cells)
    chosen = set(setting.of(results.choices)["cell"])
    shown = cells[(cells["omega"].isna() | cells["cell"].isin(chosen)) & (cells["test_accuracy_n"] > 0)]
    order = {family: place for place, family in enumerate(dict.fromkeys(shown["family"]))}
    return shown.assign(place=shown["family"].map(order)).sort_values("place", kind="stable")


def _draw(axes: Axes, bars: pd.DataFrame, group: str) -> None:
    y = np.arange(len(bars)) + 0.25 * bars["place"].to_numpy()  # a gap between families
    mean = 100 * bars[f"test_{group}_mean"].to_numpy()
    half_width = bars[f"test_{group}_half_width"].where(bars[f"test_{group}_n"] >= MIN_SEEDS)
    spread = np.nan_to_num(100 * half_width.to_numpy())
    reweighted = bars["omega"].notna().to_numpy()
    axes.barh(
        y,
        mean,
        height=0.9,
        color=np.where(reweighted, PALETTE[0], NEUTRAL).tolist(),
        xerr=spread,
        error_kw={"elinewidth": 0.8, "capsize": 1.5, "ecolor": "#222222"},
    )
    names = [
        (bar.family if math.isnan(bar.omega) else f"ω = {bar.omega:g}") + lacking(bar.test_accuracy_n, bar.planned)
        for bar in rows_of(bars)
    ]
    axes.set_yticks(y, names)
    axes.set_ylim(y[-1] + 0.8, -0.8)  # the first on top
    axes.grid(visible=False, axis="y")
