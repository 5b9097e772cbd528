"""A few cells of one imbalance factor side by side: by seed, by class, by how sure they are."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence, Sized

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from dash import html

from ccar.evidence.cells import PRIMARY, PRIMARY_NAME, plain_cells, reference_cells
from ccar.evidence.confusion import mean_confusions
from ccar.evidence.frames import rows_of
from ccar.evidence.importance import MIN_TRIALS, Importance
from ccar.evidence.paired import difference_matrix, paired_moments
from ccar.evidence.reliability import pooled_reliability
from ccar.evidence.selection import CRITERION
from ccar.evidence.significance import MIN_SEEDS
from ccar.evidence.trade_off import GROUPS, undominated
from ccar.metrics.confusion import MOST_PAIRS
from ccar.reports.colours import NEUTRAL
from ccar.reports.neutralise import one_line
from ccar.reports.results import Results, Setting
from ccar.reports.wording import ECE_NOTE, GROUPS_NOTE, MISSING, counted, interval, lacking, percent, points
from ccar.training.result import TestResult
from dashboards import look
from dashboards.address import SEPARATOR, address
from dashboards.desk import Desk
from dashboards.elements import Content, choice, link, note, plot, section, shown, table
from dashboards.parallel import parallel_coordinates

Fields = Mapping[str, str]
MOST_CELLS = 7  # more cannot be told apart
MOST_OFFERED = 400
MOST_PAIRS_SHOWN = 12
_MEASURES = {
    "test_accuracy": "accuracy",
    "test_balanced_accuracy": "balanced",
    "test_many": "many",
    "test_medium": "medium",
    "test_few": "few",
    "test_worst_class": "worst class",
}
_FACTOR_WORDS = {
    "family": "base loss",
    "omega": "omega",
    "frequency": "class frequency",
    "effective_number_beta": "beta of the effective number",
    "keep_z": "keeping z",
    "loss_factor": "factor of the loss",
    "learning_rate": "learning rate",
}


def choices(desk: Desk, fields: Fields) -> list[Content]:
    """Which imbalance factor, and which of its cells; nothing until there are numbers, by which some are picked."""
    found = desk.library.results(fields.get("study", ""), 0.0)
    if found is None:
        return []
    setting = _setting(found, fields)
    labels = [(place, setting.label) for place, setting in _by_place(found)]
    apart = {name: value for name, value in fields.items() if name != "cells"}
    made: list[Content] = [choice("/compare", apart, "at", "At", labels)] if len(labels) > 1 else []
    here = setting.of(found.cells).set_index("cell")["method"]
    return [*made, _cells(fields, dict(here), _picked(found, setting, fields))]


def _cells(fields: Fields, here: Mapping[str, str], picked: Sequence[str]) -> html.Details:
    """A link for each cell that takes it in, or leaves it out."""
    links = []
    for name in [*dict.fromkeys([*picked, *here])][:MOST_OFFERED]:
        if name not in picked and len(picked) == MOST_CELLS:
            links.append(html.Li(one_line(here[name])))
            continue
        others = [other for other in picked if other != name]
        wanted = SEPARATOR.join(others if name in picked else [*picked, name])
        href = address("/compare", **{**fields, "cells": wanted})
        links.append(html.Li(link(here[name], href, className="here" if name in picked else "")))
    words = f"Choose cells: {MOST_CELLS} at most; the one that was chosen first is what the others are compared with"
    return html.Details([html.Summary(words), html.Ul(links, className="cells")])


def results(desk: Desk, fields: Fields) -> list[Content]:
    """The measures of the cells that were picked, or of the baseline, the best choice and its plain base loss."""
    state = desk.state(fields["study"])
    found, instead = desk.results(state)
    if found is None:
        return instead
    cells = _cells_picked(found, fields)
    if cells.empty:
        return [note("None of these cells has a finished trial yet.")]
    return [_measures(cells, state.name)]


def figures(desk: Desk, fields: Fields) -> list[Content]:
    """How these cells differ."""
    found, _ = desk.results(desk.state(fields["study"]))
    if found is None or (cells := _cells_picked(found, fields)).empty:
        return []
    setting, picked = _setting(found, fields), list(cells["cell"])
    tests, class_counts = _tests(desk, found, picked)
    return [
        *_differences(found, cells),
        *_by_class(cells, tests, class_counts),
        *_calibration(found, cells),
        *_parallel(setting.of(found.cells), picked),
        *_trade_off(found, setting, picked),
        section("What explains validation accuracy?", *_importance(desk, found, setting, fields)),
    ]


def _by_place(found: Results) -> Iterator[tuple[str, Setting]]:
    return ((str(place), setting) for place, setting in enumerate(found.settings))


def _setting(found: Results, fields: Fields) -> Setting:
    return dict(_by_place(found)).get(fields.get("at", "0"), found.settings[0])


def _usual(found: Results, setting: Setting) -> list[str]:
    """The baseline; the choice with the largest mean on validation; its plain base loss."""
    cells, choices = setting.of(found.cells), setting.of(found.choices)
    names = list(cells.loc[cells["is_baseline"], "cell"])
    if len(choices):
        best = choices.sort_values(f"{CRITERION}_mean", ascending=False, kind="stable").iloc[0]
        names += [best["plain_cell"], best["cell"]]
    known = [name for name in dict.fromkeys(names) if isinstance(name, str)]
    return known or list(cells["cell"].head(2))


def _picked(found: Results, setting: Setting, fields: Fields) -> list[str]:
    known = set(setting.of(found.cells)["cell"])
    asked = [name for name in dict.fromkeys(fields.get("cells", "").split(SEPARATOR)) if name in known]
    return (asked or _usual(found, setting))[:MOST_CELLS]


def _cells_picked(found: Results, fields: Fields) -> pd.DataFrame:
    """Their rows; none where no trial of theirs is finished."""
    setting = _setting(found, fields)
    cells = setting.of(found.cells).set_index("cell", drop=False).loc[_picked(found, setting, fields)]
    return cells if (cells[f"{PRIMARY}_n"] > 0).any() else cells.head(0)


def _measures(cells: pd.DataFrame, study: str) -> html.Div:
    rows = [
        [
            link(cell.cell, address("/trial", study=study, cell=cell.cell)),
            str(cell.test_accuracy_n),
            *(percent(getattr(cell, f"{name}_mean"), getattr(cell, f"{name}_half_width")) for name in _MEASURES),
            MISSING if math.isnan(cell.test_ece_mean) else f"{cell.test_ece_mean:.3f}",
        ]
        for cell in rows_of(cells)
    ]
    headings = ["Cell", "seeds #", *(f"{words} #" for words in _MEASURES.values()), "ECE #"]
    caption = (
        "Test set after the last epoch, in per cent, mean ± half the width of the 95 % interval over seeds. "
        f"{GROUPS_NOTE} {ECE_NOTE}"
    )
    return table("measures", caption, headings, rows)


def _differences(found: Results, cells: pd.DataFrame) -> Iterator[Content]:
    """Of every other cell to the first one."""
    first, *others = cells["cell"]
    if not others:
        return
    judged = _judged(found, first, others)
    by_seed = difference_matrix(found.trials, PRIMARY, pd.Series(dict.fromkeys(others, first), dtype="str"))
    seeds = sorted(found.trials.loc[found.trials["status"] == "finished", "seed"].unique())
    names = dict(zip(cells["cell"], cells["method"], strict=True))
    figure = look.figure(
        height=160 + 60 * len(others),
        xaxis={"title": f"points of {PRIMARY_NAME}"},
        yaxis={"autorange": "reversed", "type": "category", "showticklabels": False},
        showlegend=False,
    )
    figure.add_vline(0, line={"color": look.INK, "width": 1})
    for index, (cell, row) in enumerate(zip(rows_of(judged.reset_index(names="cell")), by_seed, strict=True)):
        # Above its line: beside the plot, long names would leave it no room on a telephone.
        figure.add_annotation(
            xref="paper",
            x=0,
            xanchor="left",
            y=cell.cell,
            yanchor="bottom",
            yshift=4,
            text=shown(names[cell.cell]),
            showarrow=False,
        )
        half_width = 100 * (cell.high - cell.mean)
        figure.add_scatter(
            x=[100 * cell.mean],
            y=[cell.cell],
            mode="markers",
            marker={"color": look.INK, "symbol": "line-ns-open", "size": 14, "line": {"width": 3}},
            error_x={"array": [half_width if cell.n >= MIN_SEEDS else 0.0], "color": look.INK},
            hovertemplate="mean: %{x:.2f} points<extra></extra>",
        )
        figure.add_scatter(
            x=100 * row,
            y=[cell.cell] * len(row),
            mode="markers",
            marker=look.marker(index + 1, size=9),
            text=[f"seed {seed}" for seed in seeds],
            hovertemplate="%{text}: %{x:.2f} points<extra></extra>",
        )
    rows = [
        [
            one_line(cell.cell),
            points(cell.mean),
            interval(cell.low, cell.high) or MISSING,
            str(cell.n),
            MISSING if math.isnan(cell.p_holm) else f"{cell.p_holm:.2g}",
            cell.verdict,
        ]
        for cell in rows_of(judged.reset_index(names="cell"))
    ]
    headings = ["Cell", "difference (points) #", "95 % interval #", "seeds #", "p after correction #", "verdict"]
    caption = (
        f"Difference to {one_line(first)}, paired by seed; verdicts of the report, corrected for all that it compares "
        f"({MISSING}: it has no such comparison)"
    )
    words = f"Difference in {PRIMARY_NAME} of each seed, their mean (bar) and its 95 % interval."
    yield section("Paired differences", plot("differences", figure, words), table("paired", caption, headings, rows))


def _judged(found: Results, first: str, others: Sequence[str]) -> pd.DataFrame:
    """The differences to the first cell, with the p-value and verdict of the report, or none where it has no such pair.

    The cells were picked from all of the study: corrected for those of this page alone, a verdict would say too much.
    """
    judged = paired_moments(found.trials, PRIMARY, dict.fromkeys(others, first))
    cells = found.cells.set_index("cell", drop=False)
    comparisons = {"versus_plain": plain_cells(found.cells), "difference": reference_cells(found.cells)}
    for part, absent in (("p_holm", math.nan), ("verdict", MISSING)):
        judged[part] = absent
        for name, reference_of in comparisons.items():
            same = [cell for cell in others if reference_of.get(cell) == first]
            judged.loc[same, part] = cells.loc[same, f"{PRIMARY}_{name}_{part}"]
    return judged


def _height(cells: Sized, plot: int = 320) -> int:
    """In pixels, with a line for each cell in the legend, as it is on a telephone."""
    return plot + 20 * len(cells)


def _tests(
    desk: Desk, found: Results, cells: Sequence[str]
) -> tuple[dict[str, list[TestResult]], set[tuple[int, ...]]]:
    """The test results of each cell's finished trials, and the training images per class that these had."""
    finished = found.trials[found.trials["status"] == "finished"]
    keys_of = {cell: list(finished.loc[finished["cell"] == cell, "key"]) for cell in cells}
    records = [desk.record(key) for keys in keys_of.values() for key in keys]
    class_counts = {record.class_counts for record in records if record is not None}
    tests = {cell: [test for key in keys if (test := desk.test(key)) is not None] for cell, keys in keys_of.items()}
    return tests, class_counts


def _by_class(
    cells: pd.DataFrame, tests: Mapping[str, list[TestResult]], class_counts: Collection[Sequence[int]]
) -> Iterator[Content]:
    """What is drawn over the training images of each class, where that is one number for all seeds."""
    if len(class_counts) > 1:
        yield section("Classes", note("Not drawn: a class has not the same number of training images with every seed."))
        return
    for counts in class_counts:
        yield from _classes(cells, tests, counts)
        yield from _confusions(cells, tests, counts)


def _classes(
    cells: pd.DataFrame, tests: Mapping[str, list[TestResult]], class_counts: Sequence[int]
) -> Iterator[Content]:
    """Recall of each class against its training images, mean over the finished seeds."""
    figure = look.figure(
        height=_height(cells),
        xaxis=look.NUM_IMAGES,
        yaxis={"title": "test accuracy (%)"},
    )
    for index, (cell, method) in enumerate(zip(cells["cell"], cells["method"], strict=True)):
        recalls = [test.last_epoch.per_class for test in tests[cell]]
        if not recalls or not all(recalls):
            continue
        figure.add_scatter(
            x=class_counts,
            y=100 * np.mean(recalls, axis=0),
            name=shown(method),
            mode="markers",
            marker=look.marker(index),
            text=[f"class {label}" for label in range(len(class_counts))],
            hovertemplate="%{text}: %{x} images, %{y:.1f} %<extra></extra>",
        )
    if figure.data:
        words = "Test accuracy of each class, mean over the seeds, against its training images."
        yield section("Classes", plot("classes", figure, words))


def _confusions(
    cells: pd.DataFrame, tests: Mapping[str, list[TestResult]], class_counts: Sequence[int]
) -> Iterator[Content]:
    """The pairs of classes that any of the cells confuses most, and how often each cell does."""
    kept = [(cell, [test.confusions for test in own if test.confusions]) for cell, own in tests.items()]
    most = mean_confusions(kept, MOST_PAIRS_SHOWN)
    if most.empty:
        return
    names = [f"{a} ({class_counts[a]}) → {b} ({class_counts[b]})" for a, b in most.index]
    figure = look.figure(
        height=_height(cells, 120 + 26 * len(names)),
        xaxis={"title": "images per seed", "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "type": "category", "categoryarray": names, "ticklabelstandoff": 6},
    )
    for index, (cell, method) in enumerate(zip(cells["cell"], cells["method"], strict=True)):
        if cell in most:
            figure.add_scatter(
                x=most[cell],
                y=names,
                name=shown(method),
                mode="markers",
                marker=look.marker(index, size=9),
                hovertemplate="%{y}: %{x:.1f} images<extra></extra>",
            )
    words = (
        "The pairs of classes that are most often confused: test images of the first that are taken for the second, "
        f"mean over the seeds; in brackets their training images. Of a trial the {MOST_PAIRS} largest pairs are kept."
    )
    yield section("Most confused classes", plot("confusions", figure, words))


def _calibration(found: Results, cells: pd.DataFrame) -> Iterator[Content]:
    bins = pooled_reliability(found.source.reliability, found.trials, cells["cell"])
    if bins.empty:
        return
    figure = look.figure(
        height=_height(cells),
        xaxis={"title": "confidence", "range": [-0.02, 1.02]},  # whole marks at the ends
        yaxis={"title": "share predicted right", "range": [-0.05, 1.05]},
    )
    figure.add_scatter(
        x=[0, 1], y=[0, 1], name="as sure as right", mode="lines", line={"color": NEUTRAL, "dash": "dash"}
    )
    for index, (cell, method) in enumerate(zip(cells["cell"], cells["method"], strict=True)):
        own = bins[bins["cell"] == cell]
        size = 5 + 25 * np.sqrt(own["count"] / max(own["count"].sum(), 1))
        marker = look.marker(index, size=size)
        figure.add_scatter(
            x=own["confidence"],
            y=own["accuracy"],
            name=shown(method),
            mode="lines+markers",
            marker=marker,
            line={"color": marker["color"], "width": 1.4},
        )
    words = "Reliability on the test set, all seeds together; below the dashed line a network is too sure of itself."
    yield section("Calibration", plot("calibration", figure, words))


def _parallel(here: pd.DataFrame, picked: Sequence[str]) -> Iterator[Content]:
    """Every cell of the setting, where there are several: what it is made of, and what it reaches."""
    if len(here) < 2:
        return
    words = (
        "What the cells are made of, and below it what they reach. Test set, mean over the seeds; the axis of each "
        "measure goes from the lowest of all cells of this imbalance factor to the highest."
    )
    yield section("Parallel coordinates", plot("parallel", parallel_coordinates(here, picked, _MEASURES), words))


def _trade_off(found: Results, setting: Setting, picked: Sequence[str]) -> Iterator[Content]:
    """Every cell of the setting: head against tail, with those that no other beats on all groups."""
    here = setting.of(found.cells)
    groups = [group for group in GROUPS if here[f"{group}_mean"].notna().any()]
    if len(groups) < 2:
        return
    head, tail = groups[0], groups[-1]
    here = here[here[f"{head}_mean"].notna()]
    front = undominated(here)
    figure = look.figure(
        height=_height(picked),
        xaxis={"title": f"{head.removeprefix('test_')}-shot accuracy (%)"},
        yaxis={"title": f"{tail.removeprefix('test_')}-shot accuracy (%)"},
    )
    for name, rows, style in (
        ("other cells", here[~front & ~here["cell"].isin(picked)], {"color": NEUTRAL, "size": 6}),
        ("on the Pareto front", here[front], {"color": look.INK, "size": 13, "symbol": "circle-open"}),
    ):
        figure.add_scatter(
            x=100 * rows[f"{head}_mean"],
            y=100 * rows[f"{tail}_mean"],
            name=name,
            mode="markers",
            marker=style,
            text=[shown(row.method) + lacking(row.finished, row.planned) for row in rows_of(rows)],
            hovertemplate="%{text}<br>%{x:.2f} / %{y:.2f}<extra></extra>",
        )
    for index, cell in enumerate(picked):
        rows = here[here["cell"] == cell]
        figure.add_scatter(
            x=100 * rows[f"{head}_mean"],
            y=100 * rows[f"{tail}_mean"],
            name=shown(str(rows["method"].iloc[0])) if len(rows) else shown(cell),
            mode="markers",
            marker=look.marker(index, size=9),
        )
    words = (
        "Frequent classes against rare ones, mean over the seeds. Ringed: no other cell is at least as good on all "
        "groups of classes and better on one; a cell that lacks seeds is not on that front, and keeps no other one off."
    )
    yield section("Head against tail", plot("trade-off", figure, words))


def _importance(desk: Desk, found: Results, setting: Setting, fields: Fields) -> Iterator[Content]:
    """Of all trials of the setting, for who asks: a forest takes seconds."""
    if fields.get("explain") != "1":
        yield link(
            "Estimate it from all finished trials (some seconds)", address("/compare", **{**fields, "explain": "1"})
        )
        return
    trials = setting.of(found.trials)
    made = desk.importances.of(found.source.study, setting.label, trials)
    if made is None:
        finished = counted(int((trials["status"] == "finished").sum()), "trial")
        yield note(
            f"Nothing can be said: {finished} finished at {setting.label}; it takes {MIN_TRIALS} with a validation "
            "accuracy, that differ in something."
        )
        return
    if made.explained <= 0:
        yield note(
            "Nothing can be said: a random forest cannot tell the accuracy of trials it has not seen "
            f"(R² {made.explained:.2f} on {counted(made.num_trials, 'trial')}). More seeds may help."
        )
        return
    yield html.P(
        f"From what varies, a random forest predicts {100 * made.explained:.0f} % of the variance of the validation "
        f"balanced accuracy of trials it has not seen ({counted(made.num_trials, 'trial')} at {setting.label}). The "
        "bars say how many percentage points of that are lost when one factor is shuffled: what goes with accuracy "
        "among these trials, not what causes it. They do not add up where factors work together, and one near 0 is "
        "noise."
    )
    yield plot("importance", _bars(made), "Loss of explained variance when a factor is shuffled among trials left out.")
    rows = [[name, f"{100 * lost:.1f}"] for name, lost in zip(_names(made), made.lost, strict=True)]
    yield html.Details(
        [
            html.Summary("As a table"),
            table("importance-table", "Explained variance lost", ["Factor", "percentage points #"], rows),
        ]
    )


def _names(made: Importance) -> list[str]:
    return [_FACTOR_WORDS.get(name, name) for name in made.lost.index]


def _bars(made: Importance) -> go.Figure:
    figure = look.figure(
        height=110 + 34 * len(made.lost),
        xaxis={"title": "points of explained variance lost"},
        yaxis={"autorange": "reversed", "type": "category"},
    )
    figure.add_bar(
        x=100 * made.lost,
        y=_names(made),
        orientation="h",
        marker={"color": look.marker(0)["color"]},
        hovertemplate="%{y}: %{x:.1f}<extra></extra>",
    )
    return figure
