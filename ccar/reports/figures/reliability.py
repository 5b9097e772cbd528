"""Reliability diagrams: how often predictions are right that were made with a certain confidence."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccar.evidence.reliability import pooled_reliability
from ccar.metrics.calibration import NUM_BINS
from ccar.reports.figures.style import NEUTRAL, PALETTE, WIDTH, ReportFigure, legend_below
from ccar.reports.results import Results

MAX_SETTINGS, MAX_FAMILIES = 3, 6


def reliability_diagrams(results: Results) -> ReportFigure | None:
    """A column per imbalance factor, a row per base loss: plain and with its chosen omega; None without bins."""
    cells = results.cells
    chosen = set(results.choices["cell"])
    shown = cells[(cells["omega"].isna() | cells["cell"].isin(chosen)) & cells["test_ece_mean"].notna()]
    if shown.empty:
        return None
    settings = [setting for setting in results.settings if len(setting.of(shown))]
    families = list(dict.fromkeys(shown["family"]))
    drawn, rows = settings[:MAX_SETTINGS], families[:MAX_FAMILIES]
    bins = pooled_reliability(results.source.reliability, results.trials, shown["cell"])
    width = WIDTH if len(drawn) > 1 else 4.0
    figure = Figure(figsize=(width, 2.0 * len(rows) + 0.7), layout="constrained")
    grid = figure.subplots(len(rows), len(drawn), sharex=True, sharey=True, squeeze=False)
    for panels, family in zip(grid, rows, strict=True):
        for axes, setting in zip(panels, drawn, strict=True):
            here = setting.of(shown)
            _draw(axes, here[here["family"] == family], bins)
            axes.set_title(f"{setting.label}: {family}")
            axes.set_xlabel("confidence")
            axes.xaxis.set_tick_params(labelbottom=True)
        panels[0].set_ylabel("accuracy")
    handles = [
        Line2D([], [], color=NEUTRAL, marker="s", label="plain base loss"),
        Line2D([], [], color=PALETTE[0], marker="o", label="with the ω chosen on validation"),
        Line2D([], [], color="#000000", linewidth=0.8, linestyle=(0, (4, 3)), label="as sure as right"),
    ]
    handles = handles if len(results.choices) else [handles[0], handles[2]]
    legend_below(figure, handles, [str(handle.get_label()) for handle in handles])
    left_out = len(families) * len(settings) - len(rows) * len(drawn)
    return ReportFigure(
        name="reliability",
        caption=f"Reliability on the test set, both axes as shares: predictions in {NUM_BINS} bins of equal width by "
        "their confidence (the largest predicted probability), all seeds together; the area of a mark is the share "
        "of images in its bin. Below the dashed line a network is too sure of itself. ECE: expected calibration "
        "error, the mean distance from that line, weighted by images; mean over the seeds."
        + (f" {left_out} more panels are not drawn; every ECE is in cells.csv." if left_out else ""),
        alt="Reliability diagrams of plain base losses and of their chosen omegas",
        figure=figure,
    )


def _draw(axes: Axes, cells: pd.DataFrame, bins: pd.DataFrame) -> None:
    axes.plot([0, 1], [0, 1], color="#000000", linewidth=0.8, linestyle=(0, (4, 3)))
    told = []
    for _, cell in cells.iterrows():
        plain = pd.isna(cell["omega"])
        own = bins[bins["cell"] == cell["cell"]]
        colour = NEUTRAL if plain else PALETTE[0]
        axes.plot(own["confidence"], own["accuracy"], color=colour, linewidth=1.0)
        axes.scatter(
            own["confidence"],
            own["accuracy"],
            s=3 + 60 * own["count"] / own["count"].sum(),
            color=colour,
            marker="s" if plain else "o",
            zorder=3,
        )
        told.append(f"{'plain' if plain else 'ω'}: {cell['test_ece_mean']:.3f}")
    axes.text(0.03, 0.97, "ECE\n" + "\n".join(told), transform=axes.transAxes, va="top", fontsize=6.5)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
