"""Average ranks of the methods over the imbalance factors."""

from __future__ import annotations

from matplotlib.figure import Figure

from ccar.evidence.cells import PRIMARY_NAME
from ccar.reports.figures.style import NEUTRAL, PALETTE, WIDTH, ReportFigure
from ccar.reports.results import Results


def rank_diagram(results: Results) -> ReportFigure | None:
    """Methods on a line by average rank; None where there are too few settings or methods to rank."""
    ranks = results.ranks
    if ranks is None:
        return None
    names = list(ranks.mean.index)
    figure = Figure(figsize=(WIDTH, 0.9 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots()
    y = list(range(len(names)))
    axes.hlines(y, 1, ranks.mean, color=NEUTRAL, linewidth=0.8)
    axes.plot(ranks.mean, y, "o", color=PALETTE[0])
    for place, rank in enumerate(ranks.mean):
        axes.annotate(f"{rank:.2f}", (rank, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_xlim(0.9, 1.06 * len(names))
    axes.set_ylim(len(names) - 0.3, -0.7)  # the best on top
    axes.set_yticks(y, names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"average rank over {ranks.num_blocks} imbalance factors (1: the highest accuracy)")
    return ReportFigure(
        name="average_ranks",
        caption="Average ranks of plain base losses and of their chosen ω over the imbalance factors, by mean "
        f"{PRIMARY_NAME}, of those that have finished all their seeds at every one. Not tested: Friedman's and "
        "Nemenyi's tests take the blocks as independent, which imbalance factors of one data set are not.",
        alt=f"Average ranks of {', '.join(names)}",
        figure=figure,
    )
