"""One study while it runs: every cell by its state, pace, learning curves, what failed and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import pandas as pd
from dash import html

from ccar.cli.plan import duration
from ccar.evidence.frames import family_labels, rows_of
from ccar.reports.neutralise import one_line
from ccar.reports.wording import GROUPS_NOTE, MISSING, counted, hours
from dashboards import progress
from dashboards.address import address
from dashboards.curves import learning_curves
from dashboards.desk import Desk
from dashboards.elements import Content, choice, facts, link, note, plot, section, table
from dashboards.stored_study import StudyState

Fields = Mapping[str, str]
MOST_CELLS = 600  # that a browser draws without effort
MOST_CURVES = 6
MOST_FAILURES = 50


def choices(desk: Desk, fields: Fields) -> list[Content]:
    """Which base loss to look at."""
    state = desk.library.state(fields.get("study", ""))
    return [] if state is None else base_losses("/study", state, fields)


def base_losses(path: str, state: StudyState, fields: Fields) -> list[Content]:
    """All, or one of them, where there are several."""
    labels = family_labels(state.trials.values())
    families = list(dict.fromkeys(labels.get(trial.cell.family, trial.cell.family) for trial in state.trials.values()))
    options = [("", "all"), *((family, family) for family in families)]
    return [choice(path, fields, "base", "Base loss", options)] if len(families) > 1 else []


def results(desk: Desk, fields: Fields) -> list[Content]:
    """How far the study is, cell by cell, and what failed."""
    state = desk.state(fields["study"])
    problems = [note(problem) for problem in state.problems[:5]]
    if state.study is None:
        return problems
    states = progress.trial_states(state)
    return [
        html.P(one_line(state.study.question), className="question"),
        *problems,
        _progress(state, states),
        _facts(state, states, desk.library.waiting.get(state.name, "")),
        html.P(link("Open its file in Plan", address("/plan", study=state.name))),
        section("Cells", *_matrices(state, states, fields.get("base", ""))),
        *_failures(state, states),
    ]


def figures(desk: Desk, fields: Fields) -> list[Content]:
    """How the trials learn that run, or those that ended last."""
    state = desk.state(fields["study"])
    running = state.validation["key"].isin(state.running) & (state.validation["epochs"] > 0)
    if running.any():
        chosen, said = state.validation[running], "that run"
    else:
        latest = state.costs["ended_at"].where(state.validation["epochs"] > 0).dropna().sort_values().index[::-1]
        chosen, said = state.validation.loc[latest], "that ended last"
    if chosen.empty:
        return []
    curves = [
        (f"{trial.cell} seed {trial.seed}", record)
        for trial in rows_of(chosen.head(MOST_CURVES))
        if (record := desk.record(trial.key)) is not None
    ]
    more = len(chosen) - len(curves)
    left_out = f" {counted(more, 'more trial')} of these not drawn." if more and said == "that run" else ""
    caption = f"Validation accuracy of the trials {said}, and their training loss.{left_out} {GROUPS_NOTE}"
    return [section("Learning curves", plot("curves", learning_curves(curves), caption))]


def _progress(state: StudyState, states: pd.Series[str]) -> html.Div:
    counts = Counter(states)
    counts["waiting"] += state.num_trials - state.num_read
    said = ", ".join(f"{counts[word]:,} {word}" for word in reversed(progress.STATES) if counts[word])
    done = progress.num_done(counts)
    total = state.num_trials
    reading = "" if state.is_whole else f" (the store is being read: {state.num_read:,} of {len(state.trials):,})"
    return html.Div(
        [
            html.Progress(value=str(done), max=str(max(total, 1)), **{"aria-label": f"{done} of {total} trials done"}),
            html.P(f"{done:,} of {counted(total, 'trial')} done{reading}: {said}.", id="counts"),
        ],
        className="progress",
    )


def _facts(state: StudyState, states: pd.Series[str], waiting: str) -> html.Dl:
    pace = progress.pace(state, states)
    in_use = Counter(
        f"{row.host}: {row.device}" for row in rows_of(state.costs[state.costs["key"].isin(state.running)])
    )
    workers = ", ".join(f"{number} on {one_line(place)}" for place, number in sorted(in_use.items()))
    return facts(
        [
            ("Time left", MISSING if pace.seconds_left is None else _time_left(pace.seconds_left)),
            ("Trials per hour", MISSING if pace.trials_per_hour is None else f"{pace.trials_per_hour:,.0f}"),
            ("Images per second", f"{pace.images_per_second:,.0f}" if pace.images_per_second else MISSING),
            ("Hours of training", hours(float(state.costs["seconds"].sum()) / 3600)),
            ("Workers in use", workers or one_line(waiting) or "none"),
        ]
    )


def _time_left(seconds: float) -> str:
    return f"about {duration(seconds / 3600)}" if seconds else "none"


def _matrices(state: StudyState, states: pd.Series[str], base: str) -> Iterator[Content]:
    made = progress.matrices(state, states, base=base)
    if not made:
        yield note("Nothing was read yet.")
        return
    yield html.Ul(
        [
            html.Li([html.Span(word, className=f"cell {word}"), f" {progress.MEANING[word]}"])
            for word in progress.STATES
            if (states == word).any()
        ],
        className="legend",
    )
    left = MOST_CELLS
    for number, matrix in enumerate(made):
        most_rows = max(1, left // len(matrix.columns))
        left -= min(most_rows, len(matrix.rows)) * len(matrix.columns)
        rows = [
            [one_line(name), *(_place(state, row.get(column, ())) for column in matrix.columns)]
            for name, row in list(matrix.rows.items())[:most_rows]
        ]
        columns = [name if name == progress.PLAIN else f"ω {name}" for name in matrix.columns]
        caption = f"{matrix.setting}: seeds done of each cell"
        yield html.Div(table(f"cells-{number}", caption, ["base loss", *columns], rows), className="matrix")
        if len(matrix.rows) > most_rows:
            yield note(f"{counted(len(matrix.rows) - most_rows, 'more row')}: choose a base loss.")


def _place(state: StudyState, cells: tuple[progress.CellProgress, ...]) -> Content:
    return [
        link(
            f"{cell.done}/{cell.planned}",
            address("/trial", study=state.name, cell=cell.cell),
            className=f"cell {cell.state}",
            title=f"{one_line(cell.cell)}: " + ", ".join(f"{number} {word}" for word, number in cell.counts.items()),
        )
        for cell in cells
    ]


def _failures(state: StudyState, states: pd.Series[str]) -> list[Content]:
    bad = state.validation[states.isin(["failed", "diverged"])]
    if bad.empty:
        return []
    rows = [
        [_trial(state, row.cell, row.seed), row.status, one_line(row.error) if row.error == row.error else MISSING]
        for row in rows_of(bad.head(MOST_FAILURES))
    ]
    more = f"; the first {MOST_FAILURES}" if len(bad) > MOST_FAILURES else ""
    caption = f"{counted(len(bad), 'trial')} that failed or diverged{more}"
    return [section("Failures", table("failures", caption, ["Trial", "How it ended", "Why"], rows))]


def _trial(state: StudyState, cell: str, seed: int) -> Content:
    return link(f"{cell} seed {seed}", address("/trial", study=state.name, cell=cell, seed=str(seed)))
