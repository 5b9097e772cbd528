"""Average ranks over settings, and, over data sets enough, which of them cannot be told apart (critical difference)."""

from __future__ import annotations

from matplotlib.figure import Figure

from ccar.evidence.cells import PRIMARY_NAME
from ccar.evidence.ranks import MIN_DATA_SETS, Ranks, groups_of_equals
from ccar.evidence.significance import ALPHA
from ccar.reports.figures.style import NEUTRAL, PALETTE, WIDTH, ReportFigure
from ccar.reports.results import Results
from ccar.reports.wording import p_value


def critical_difference_diagram(results: Results) -> ReportFigure | None:
    """Methods on a line by average rank; None where there are too few settings or methods to rank."""
    ranks = results.ranks
    if ranks is None:
        return None
    groups = groups_of_equals(ranks)
    rows = len(ranks.mean)
    height = 0.9 + 0.24 * rows + 0.14 * len(groups)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(1 - 0.1, rows + 0.06 * rows)
    y = list(range(rows))
    axes.hlines(y, 1, ranks.mean, color=NEUTRAL, linewidth=0.8)
    axes.plot(ranks.mean, y, "o", color=PALETTE[0])
    for place, rank in enumerate(ranks.mean):
        axes.annotate(f"{rank:.2f}", (rank, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7)
    names = list(ranks.mean.index)
    for offset, group in enumerate(groups):
        level = rows + 0.1 + 0.55 * offset
        axes.plot([ranks.mean[group[0]], ranks.mean[group[-1]]], [level, level], color=PALETTE[1], linewidth=3)
    level = -1.2
    if ranks.critical_difference is not None:
        axes.errorbar(
            1 + ranks.critical_difference / 2, level, xerr=ranks.critical_difference / 2, color="#000000", capsize=3
        )
        axes.annotate(
            f"critical difference {ranks.critical_difference:.2f}",
            (1 + ranks.critical_difference, level),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            backgroundcolor="#FFFFFF",
        )
    axes.set_ylim(rows + 0.55 * len(groups), -1.9)
    axes.set_yticks(y, names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"average rank over {ranks.num_blocks} settings (1: the highest accuracy)")
    return ReportFigure(
        name="critical_difference",
        caption="Average ranks of plain base losses and of their chosen ω over data sets and imbalance factors, by "
        f"mean {PRIMARY_NAME}. {_tested(ranks)}",
        alt=f"Average ranks of {', '.join(names)}",
        figure=figure,
    )


def _tested(ranks: Ranks) -> str:
    if ranks.friedman_p is None:
        return (
            "Not tested: Friedman's and Nemenyi's tests take the blocks as independent, which imbalance factors of one "
            f"data set are not; they need {MIN_DATA_SETS} data sets."
        )
    differ = "some differ" if ranks.friedman_p <= ALPHA else "no difference shown"
    return (
        f"Friedman test: {p_value(ranks.friedman_p)} ({differ}). Methods under one bar are closer than the critical "
        "difference of Nemenyi's test (alpha 0.05) and cannot be told apart by their ranks."
    )
