"""All studies of the store: what they ask, how far they are, what is best so far; and those of others in MLflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from dash import html

from ccar.evidence.costs import study_costs
from ccar.evidence.frames import rows_of
from ccar.evidence.selection import best_cells
from ccar.reports.neutralise import one_line
from ccar.reports.wording import MISSING, hours, percent
from dashboards import progress
from dashboards.address import address
from dashboards.desk import Desk
from dashboards.elements import Content, choice, link, note, table, text_box
from dashboards.stored_study import StudyState

Fields = Mapping[str, str]
MOST_ELSEWHERE = 100  # studies of other stores: those that were begun last
MOST_BEST = 3  # cells of one study
_KINDS = (("", "all"), ("running", "running"), ("open", "unfinished"), ("done", "done"))


def choices(desk: Desk, fields: Fields) -> list[Content]:
    """Which of them."""
    return [choice("/", fields, "show", "Show", _KINDS)]


def controls(desk: Desk, fields: Fields) -> list[Content]:
    """What to look for."""
    return [text_box("search", "Search", fields.get("search", ""), placeholder="name or question")]


def results(desk: Desk, fields: Fields) -> list[Content]:
    """The studies that were looked for, the latest first."""
    library = desk.library
    problems = [note(f"{why}") for why in (library.problem, *library.unreadable.values()) if why]
    states = library.states
    if not states and not library.has_looked:
        return [note("The store is being read ...")]
    if not states:
        return problems or [note(f"No study was run against this store yet: {desk.run_command('FILE')}")]
    wanted, kind = fields.get("search", "").lower(), fields.get("show", "")
    rows = [
        row
        for state in states
        if wanted in f"{state.name} {_question(state)}".lower() and kind in ("", _kind(state), *_also(state))
        for row in [_row(state, library.waiting.get(state.name, ""))]
    ]
    rows.sort(key=lambda row: row[0], reverse=True)
    if not rows:
        return [*problems, note("No study is like that.")]
    headings = [
        "Study",
        "Question",
        "State",
        "Progress",
        "Best cell on validation",
        "Hours of training #",
        "Last activity",
    ]
    return [*problems, table("studies", "Studies", headings, [cells for _, cells in rows])]


def elsewhere(desk: Desk, fields: Fields) -> list[Content]:
    """The studies that MLflow has from other stores, with the way to their runs."""
    here = {state.name for state in desk.library.states}
    wanted = fields.get("search", "").lower()
    kind = fields.get("show", "")
    others = [
        study
        for study in desk.elsewhere.studies
        if study.name not in here
        and wanted in f"{study.name} {study.question}".lower()
        and kind in ("", "running" if study.status == "RUNNING" else "done")
    ][:MOST_ELSEWHERE]
    problem = [note(desk.elsewhere.problem)] if desk.elsewhere.problem else []
    if not others:
        return problem
    rows = [
        [
            html.A(one_line(study.name), href=study.address),
            one_line(study.question) or MISSING,
            one_line(study.status.lower()),
            one_line(study.progress) or MISSING,
            one_line(study.best) or MISSING,
            _hours(study.hours),
            moment(study.begun),
            MISSING if study.ended is None else moment(study.ended),
        ]
        for study in others
    ]
    headings = ["Study", "Question", "State", "Progress", "Best on validation", "Hours of training #", "Begun", "Ended"]
    return [*problem, table("elsewhere", "Studies of other stores, as MLflow has them", headings, rows)]


def _hours(logged: str) -> str:
    """Of a study elsewhere, which may have logged anything."""
    try:
        return hours(float(logged))
    except ValueError:
        return MISSING


def _kind(state: StudyState) -> str:
    if state.running:
        return "running"
    done = progress.num_done(Counter(progress.trial_states(state)))
    return "done" if done == state.num_trials else "open"


def _also(state: StudyState) -> tuple[str, ...]:
    return ("open",) if state.running else ()


def _question(state: StudyState) -> str:
    return state.study.question.strip() if state.study else ""


def _row(state: StudyState, waiting: str) -> tuple[float, list[Content]]:
    counts = Counter(progress.trial_states(state))
    latest = state.costs["ended_at"].max()
    to_go = waiting or "unfinished"
    words = {"running": f"{len(state.running)} running", "done": "done", "open": to_go}[_kind(state)]
    spent = study_costs(state.validation, state.costs, state.record.submitted_at).hours if state.num_read else 0.0
    return (
        state.record.submitted_at if latest != latest else float(latest),
        [
            link(state.name, address("/study", study=state.name)),
            one_line(_question(state) or "; ".join(state.problems)),
            one_line(words + (f", {counts['failed']} failed" if counts["failed"] else "")),
            _bar(progress.num_done(counts), state),
            _best(state),
            hours(spent),
            MISSING if latest != latest else moment(float(latest)),
        ],
    )


def _bar(done: int, state: StudyState) -> html.Span:
    total = state.num_trials
    said = f"{done:,} of {total:,}" if state.is_whole else f"reading: {state.num_read:,} of {len(state.trials):,}"
    return html.Span(
        [html.Progress(value=str(done), max=str(max(total, 1)), **{"aria-label": said}), f" {said}"], className="whole"
    )


def _best(state: StudyState) -> Content:
    """The best cell of each imbalance factor, whose accuracies do not compare: the milder the tail, the higher."""
    best = best_cells(state.validation)
    lines = []
    for one in rows_of(best.head(MOST_BEST)):
        cell = link(one.cell, address("/trial", study=state.name, cell=one.cell))
        mean, half_width = one.val_balanced_accuracy_mean, one.val_balanced_accuracy_half_width
        if one.tied > 1:
            lines.append(html.Div([f"{one.tied} cells at {percent(mean)} %, among them ", cell]))
        else:
            lines.append(html.Div([cell, " ", html.Span(f"{percent(mean, half_width)} %", className="whole")]))
    more = len(best) - MOST_BEST
    return [*lines, *([html.Div(f"and {more} more")] if more > 0 else [])] or MISSING


def moment(at: float) -> str:
    """A time as people write it, in the time zone of this machine."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
