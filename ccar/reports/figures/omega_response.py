"""What each omega gains over the plain base loss, with its interval, the choice, and the flat region around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ccar.evidence.cells import PRIMARY_NAME
from ccar.evidence.significance import MIN_SEEDS
from ccar.reports.figures.style import NEUTRAL, PALETTE, WIDTH, ReportFigure, legend_below, look_of
from ccar.reports.results import Results
from ccar.reports.variants import GAIN, Standing, beside_the_choice, variants

MAX_LINES = len(PALETTE)  # in one panel: more cannot be told apart
MAX_COLUMNS = 3
_LOOKS: dict[Standing, dict[str, Any]] = {  # what is in the flat region is filled, as its line has it
    "worse": {"markerfacecolor": "#FFFFFF"},
    "cannot be told": {"fillstyle": "bottom", "markerfacecoloralt": "#FFFFFF"},
}


def omega_response(results: Results) -> ReportFigure | None:
    """One panel per imbalance factor with a line per base loss; a row of panels each where lines would be many.

    None when fewer than two omegas have a difference to their plain base loss.
    """
    cells = results.cells[results.cells[f"{GAIN}_n"] > 0]
    if cells["omega"].nunique() < 2:
        return None
    cells = cells.assign(standing=cells["cell"].map(beside_the_choice(results)))
    switches, labels_of_variants = variants(cells)
    families = list(dict.fromkeys(cells["family"]))
    together = len(set(labels_of_variants)) == 1 and len(families) <= MAX_LINES
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
            lines = row if together else list(dict.fromkeys(labels_of_variants))
            label = here["family"] if together else labels_of_variants.reindex(here.index)
            _panel(axes, here, label, lines, set(results.choices["cell"]))
            axes.set_title(setting.label if together else f"{setting.label}: {row[0]}")
            axes.set_xlabel("pivot ω")
            axes.xaxis.set_tick_params(labelbottom=True)
            if column == 0:
                axes.set_ylabel("gain (points)")
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
                names.setdefault(name, handle)
    handles, labels = [*names.values()], [*names]
    marks: dict[str, Any] = {"linestyle": "", "marker": "o", "color": NEUTRAL}
    for word, look in _LOOKS.items():
        if (cells["standing"] == word).any():
            handles.append(Line2D([], [], **look, **marks))
            labels.append(f"{word} on validation")
    if len(results.choices):
        handles.append(Line2D([], [], markersize=10, markerfacecolor="none", **marks))
        labels.append("chosen on validation")
    legend_below(figure, handles, labels, title=", ".join(switches))
    return ReportFigure(
        name="omega_response",
        caption=f"Gain in {PRIMARY_NAME} over the plain base loss at each pivot ω, in percentage points. Points and "
        "bars: mean of the differences paired by seed and its 95 % interval (Student's t, of each difference alone; "
        "no bar: fewer than three seeds)"
        + (f"; one line per {', '.join(switches)}" if switches else "")
        + ". Height 0 is the plain base loss. "
        + (
            "Circled: the ω chosen on validation. Filled: the flat region, every ω that validation does not show to be "
            "worse than the chosen one (the interval of the paired difference in validation balanced accuracy reaches "
            "0). Half filled: that cannot be told, for want of three seeds or of any spread, or since seeds were "
            "stopped or diverged."
            if len(results.choices)
            else "No ω was chosen."
        ),
        alt=f"Gain over omega for {', '.join(families)} at {', '.join(s.label for s in results.settings)}",
        figure=figure,
    )


def _panel(axes: Axes, here: pd.DataFrame, label: pd.Series[str], lines: Sequence[str], chosen: set[str]) -> None:
    span = max(float(here["omega"].max() - here["omega"].min()), 0.1) if len(here) else 1.0
    axes.axhline(0, color="#000000", linewidth=0.8)
    for index, line in enumerate(lines):
        colour, marker = look_of(index)
        own = here[label == line].sort_values("omega")
        # Beside each other, so that the bars of equal omegas do not cover one another.
        x = own["omega"] + (index - (len(lines) - 1) / 2) * 0.012 * span
        y = 100 * own[f"{GAIN}_mean"]
        half_width = 100 * (own[f"{GAIN}_high"] - own[f"{GAIN}_mean"])
        half_width = half_width.where(own[f"{GAIN}_n"] >= MIN_SEEDS).fillna(0.0)
        axes.errorbar(x, y, yerr=half_width, color=colour, marker=marker, capsize=1.5, elinewidth=0.8, label=line)
        for word, look in _LOOKS.items():
            so = (own["standing"] == word).to_numpy()
            axes.plot(x[so], y[so], marker, color=colour, zorder=4, **look)
        ring = own["cell"].isin(chosen).to_numpy()
        axes.plot(x[ring], y[ring], "o", markersize=10, markerfacecolor="none", markeredgecolor=colour, zorder=5)
