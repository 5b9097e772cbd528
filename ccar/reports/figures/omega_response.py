"""Test accuracy over omega, with spread over seeds, beside the plain base loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ccar.evidence.cells import SWITCHES
from ccar.reports.figures.style import MARKERS, PALETTE, WIDTH, ReportFigure, legend_below
from ccar.reports.results import Results

MAX_LINES = len(PALETTE)  # in one panel: more cannot be told apart
MAX_COLUMNS = 3


def omega_response(results: Results) -> ReportFigure | None:
    """One panel per imbalance factor with a line per base loss; a row of panels each where lines would be many.

    None when fewer than two omegas have test results.
    """
    cells = results.cells[results.cells["test_accuracy_n"] > 0]
    reweighted = cells[cells["omega"].notna()]
    if reweighted["omega"].nunique() < 2:
        return None
    switches, variants = _variants(reweighted)
    families = list(dict.fromkeys(reweighted["family"]))
    together = len(set(variants)) == 1 and len(families) <= MAX_LINES
    rows = [families] if together else [[family] for family in families]
    columns = min(len(results.settings), MAX_COLUMNS)
    blocks = math.ceil(len(results.settings) / columns)
    panel_height = 2.7 if together else 1.9
    width = WIDTH if columns > 1 or not together else 4.8
    figure = Figure(figsize=(width, panel_height * len(rows) * blocks + 0.7), layout="constrained")
    grid = figure.subplots(len(rows) * blocks, columns, sharex=True, squeeze=False)
    for panel in grid.flat:
        panel.set_visible(False)
    names: dict[str, Any] = {}
    for index, setting in enumerate(results.settings):
        block, column = divmod(index, columns)
        for offset, row in enumerate(rows):
            axes = grid[block * len(rows) + offset, column]
            axes.set_visible(True)
            here = setting.of(cells)
            here = here[here["family"].isin(row)]
            lines = row if together else list(dict.fromkeys(variants))
            label = here["family"] if together else variants.reindex(here.index)
            _panel(axes, here, label, lines, setting.of(results.choices)["cell"], shade=not together)
            axes.set_title(setting.label if together else f"{setting.label}: {row[0]}")
            axes.set_xlabel("pivot ω")
            axes.xaxis.set_tick_params(labelbottom=True)
            if column == 0:
                axes.set_ylabel("test accuracy (%)")
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
                names.setdefault(name, handle)
    legend_below(figure, list(names.values()), list(names), title=", ".join(switches))
    return ReportFigure(
        name="omega_response",
        caption="Test accuracy after the last epoch over the pivot ω. Points and bars: mean ± one standard deviation "
        "over seeds (no bar: one seed)"
        + (f"; one line per {', '.join(switches)}" if switches else "")
        + ". Dashed: the plain base loss"
        + (" in its colour" if together else ", its standard deviation shaded")
        + (". Circled: the ω chosen on validation." if len(results.choices) else ". No ω was chosen."),
        alt=f"Test accuracy over omega for {', '.join(families)} at {', '.join(s.label for s in results.settings)}",
        figure=figure,
    )


def _panel(
    axes: Axes, here: pd.DataFrame, label: pd.Series[str], lines: Sequence[str], chosen: pd.Series[str], *, shade: bool
) -> None:
    reweighted = here[here["omega"].notna()]
    span = max(float(reweighted["omega"].max() - reweighted["omega"].min()), 0.1) if len(reweighted) else 1.0
    for index, line in enumerate(lines):
        colour, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
        own = reweighted[label.reindex(reweighted.index) == line].sort_values("omega")
        if len(own):
            # Beside each other, so that the bars of equal omegas do not cover one another.
            shift = (index - (len(lines) - 1) / 2) * 0.012 * span
            x, y = own["omega"] + shift, 100 * own["test_accuracy_mean"]
            spread = (100 * own["test_accuracy_sd"]).fillna(0.0)
            axes.errorbar(x, y, yerr=spread, color=colour, marker=marker, capsize=1.5, elinewidth=0.8, label=line)
            ring = own["cell"].isin(chosen)
            axes.plot(x[ring], y[ring], "o", markersize=10, markerfacecolor="none", markeredgecolor=colour, zorder=5)
        plain = here[here["omega"].isna()] if shade else here[here["omega"].isna() & (here["family"] == line)]
        if len(plain) and not (shade and index):
            level = 100 * float(plain["test_accuracy_mean"].iloc[0])
            spread_of_plain = 100 * float(plain["test_accuracy_sd"].iloc[0])
            reference = "#000000" if shade else colour
            axes.axhline(level, color=reference, linestyle=(0, (4, 3)), linewidth=0.9, label="plain" if shade else None)
            if shade and not math.isnan(spread_of_plain):
                axes.axhspan(level - spread_of_plain, level + spread_of_plain, color="#000000", alpha=0.08, linewidth=0)


def _variants(cells: pd.DataFrame) -> tuple[list[str], pd.Series[str]]:
    """The switches beside omega that differ within the study, and each cell's values of them as a label."""
    varying = [name for name in SWITCHES if cells[name].nunique(dropna=False) > 1]
    if not varying:
        return [], pd.Series("with ω", index=cells.index, dtype="str")
    values = cells[varying].astype("str").fillna("–")
    return varying, values.agg(", ".join, axis="columns").astype("str")
