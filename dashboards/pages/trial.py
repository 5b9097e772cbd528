"""One cell with its seeds, or one trial: configuration, provenance, curves, classes, and whether it would run again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from dash import html

from ccar.cli.plan import duration
from ccar.cli.why import why_text
from ccar.errors import CcarError
from ccar.evidence.frames import rows_of, shown_versions
from ccar.metrics.accuracy import Evaluation, group_of_class
from ccar.reports.neutralise import one_line
from ccar.reports.wording import ECE_NOTE, GROUPS_NOTE, MISSING, percent
from ccar.store.records import TrialRecord
from ccar.store.trial_store import TrialStore
from ccar.study.expansion import PlannedTrial
from ccar.study.parts import plain
from ccar.study.plan import Why, leaves, why
from ccar.training.result import TestResult
from dashboards import look, progress
from dashboards.address import address
from dashboards.curves import learning_curves
from dashboards.desk import Desk
from dashboards.elements import Content, choice, facts, link, note, plot, section, table
from dashboards.examples import examples
from dashboards.once import made_once
from dashboards.pages.studies import moment
from dashboards.stored_study import StudyState

Fields = Mapping[str, str]
MOST_CLASSES = 200  # rows of a table
MOST_CELLS = 600  # of a list
MOST_EXAMPLES = 3  # classes among the best, and among the worst
_NEAREST_SECONDS = 30.0  # until the nearest trial is looked for again: all of the store is read for it


def choices(desk: Desk, fields: Fields) -> list[Content]:
    """Which seed."""
    state = desk.library.state(fields.get("study", ""))
    trials = [] if state is None else _of_cell(state, fields)
    options = [("", "all"), *((str(trial.seed), str(trial.seed)) for trial in trials)]
    return [choice("/trial", fields, "seed", "Seed", options)] if trials else []


def results(desk: Desk, fields: Fields) -> list[Content]:
    """The trials of a cell, or the one with the seed."""
    state = desk.state(fields["study"])
    trials = _of_cell(state, fields)
    if not trials:
        return [*_choose(state), *[note(problem) for problem in state.problems[:5]]]
    chosen = [trial for trial in trials if str(trial.seed) == fields.get("seed")]
    search = fields.get("why") == "1"
    return list(_one(desk, state, chosen[0], search=search) if chosen else _all(desk, state, trials))


def _of_cell(state: StudyState, fields: Fields) -> list[PlannedTrial]:
    return [trial for trial in state.trials.values() if trial.cell.id == fields.get("cell")]


def _choose(state: StudyState) -> Iterator[Content]:
    cells = list(dict.fromkeys(trial.cell.id for trial in state.trials.values()))
    more = f" ({len(cells) - MOST_CELLS:,} more by the page Progress)" if len(cells) > MOST_CELLS else ""
    yield note(f"Choose a cell{more}:")
    listed = [html.Li(link(cell, address("/trial", study=state.name, cell=cell))) for cell in cells[:MOST_CELLS]]
    yield html.Ul(listed)


def _all(desk: Desk, state: StudyState, trials: list[PlannedTrial]) -> Iterator[Content]:
    cell = trials[0].cell.id
    frame = state.validation.assign(state=progress.trial_states(state))
    tests = {trial.key: desk.test(trial.key) for trial in trials}
    records = {trial.key: desk.record(trial.key) for trial in trials}
    rows = [
        [
            link(f"seed {row.seed}", address("/trial", study=state.name, cell=cell, seed=str(row.seed))),
            row.state,
            str(row.epochs),
            percent(row.val_balanced_accuracy),
            percent(test.last_epoch.accuracy) if (test := tests[row.key]) is not None else MISSING,
            _mlflow(desk, state, row.key),
        ]
        for row in rows_of(frame[frame["cell"] == cell])
    ]
    yield html.P(one_line(cell), className="question")
    headings = ["Trial", "State", "Epochs #", "Validation, balanced (%) #", "Test (%) #", "MLflow"]
    yield table("trials", f"Trials of {one_line(cell)}, after the last epoch", headings, rows)
    curves = [(f"seed {trial.seed}", record) for trial in trials if (record := records[trial.key]) and record.epochs]
    if curves:
        yield section("Learning curves", plot("curves", learning_curves(curves), _CURVE_WORDS))


def _one(desk: Desk, state: StudyState, trial: PlannedTrial, *, search: bool) -> Iterator[Content]:
    yield html.P(one_line(trial.name), className="question")
    record = desk.record(trial.key)
    if record is None:
        yield note("What the store has of this trial cannot be read.")
        return
    yield facts(
        [
            ("State", progress.trial_state(record, state)),
            ("Epochs", str(len(record.epochs))),
            ("Time", duration(record.seconds / 3600) if record.epochs else MISSING),
            ("Begun", moment(record.started_at) if record.started_at else MISSING),
            ("Last record", moment(record.ended_at) if record.ended_at else MISSING),
            (
                "Place",
                one_line(f"{record.worker.get('host', '')}, {record.worker.get('device', '')}".strip(", ")) or MISSING,
            ),
            ("MLflow", _mlflow(desk, state, trial.key) if record.status != "absent" else MISSING),
        ]
    )
    if record.error:
        yield section("Why it ended", html.Pre(record.error, tabIndex="0", className="log"))
    test = desk.test(trial.key)
    if test is not None:
        yield section("Result", _evaluations(record, test))
    if record.epochs:
        yield section(
            "Learning curves", plot("curves", learning_curves([(f"seed {trial.seed}", record)]), _CURVE_WORDS)
        )
        yield from _classes(record, test)
        yield from _examples(desk, trial, record, test)
    yield section("Would it run again?", *_why(desk, state, trial, record, search=search))
    yield section("Configuration and provenance", *_configuration(trial, record))


def _mlflow(desk: Desk, state: StudyState, key: str) -> Content:
    if not desk.mlflow:
        return MISSING
    return html.A("run", href=address("/mlflow", study=state.name, key=key))


_CURVE_WORDS = (
    "Validation accuracy after each epoch: of all classes on average, and by class size; and the training loss. "
    f"{GROUPS_NOTE}"
)


def _evaluations(record: TrialRecord, test: TestResult) -> html.Div:
    last = record.epochs[-1].validation if record.epochs else None
    parts = [
        ("validation, last epoch", last),
        ("test, last epoch", test.last_epoch),
        ("test, best epoch", test.best_epoch),
    ]
    rows = [[name, *_numbers(found)] for name, found in parts if found is not None]
    headings = ["Part", "accuracy (%) #", "balanced #", "many #", "medium #", "few #", "ECE #", "loss #"]
    return table("evaluations", f"What the trial reached. {ECE_NOTE}", headings, rows)


def _numbers(found: Evaluation) -> list[str]:
    shares = (found.accuracy, found.balanced_accuracy, found.many, found.medium, found.few)
    return [
        *(MISSING if share is None else percent(share) for share in shares),
        MISSING if found.ece is None else f"{found.ece:.3f}",
        f"{found.loss:.3f}",
    ]


def _classes(record: TrialRecord, test: TestResult | None) -> Iterator[Content]:
    """Accuracy of each class over its training images, as a plot and as a table."""
    part, found = _per_class(record, test)
    if not found:
        return
    groups = group_of_class(record.class_counts)
    figure = look.figure(
        xaxis=look.NUM_IMAGES,
        yaxis={"title": f"{part} accuracy (%)"},
    )
    figure.add_scatter(
        x=record.class_counts,
        y=[100 * share for share in found],
        mode="markers",
        marker=look.marker(0),
        text=[f"class {label}" for label in range(len(found))],
        hovertemplate="%{text}: %{x} images, %{y:.1f} %<extra></extra>",
        showlegend=False,
    )
    rows = [
        [str(label), f"{count:,}", group, percent(share)]
        for label, (count, group, share) in enumerate(zip(record.class_counts, groups, found, strict=True))
    ][:MOST_CLASSES]
    yield section(
        "Classes",
        plot("classes", figure, f"Accuracy of each class on the {part} images against its training images."),
        html.Details(
            [
                html.Summary("As a table"),
                table("classes-table", "Accuracy of each class", ["Class", "images #", "group", f"{part} (%) #"], rows),
            ]
        ),
    )


def _per_class(record: TrialRecord, test: TestResult | None) -> tuple[str, tuple[float, ...]]:
    """The part of the images, and the accuracy of each class on it; () where it was not kept."""
    if test is not None and test.last_epoch.per_class:
        return "test", test.last_epoch.per_class
    last = record.epochs[-1].validation
    return "validation", last.per_class if last is not None else ()


def _examples(desk: Desk, trial: PlannedTrial, record: TrialRecord, test: TestResult | None) -> Iterator[Content]:
    """A few images of the classes that were told best and worst, or of all where they are few."""
    part, found = _per_class(record, test)
    words = best_and_worst(found)
    if not words:
        return
    labels = tuple(words)
    title = "Best and worst classes" if any(words.values()) else "Classes, best first"
    try:
        shown = examples(trial.config.data, desk.cache_dir, labels)
    except (CcarError, OSError, IndexError):  # IndexError: other images, with fewer classes
        yield section(
            title,
            note(f"No images to show: those of {trial.config.data.title} are not decoded here."),
        )
        return
    rows = [
        [
            one_line(own.name),
            html.Div(
                [
                    html.Img(src=uri, alt=f"of class {one_line(own.name)}: {number}")
                    for number, uri in enumerate(own.images, 1)
                ],
                className="examples",
            ),
            percent(found[label]),
            f"{record.class_counts[label]:,}",
            words[label],
        ]
        for label, own in zip(labels, shown, strict=True)
    ]
    caption = f"Classes by {part} accuracy, each with the first of its training images in the data set"
    headings = ["Class", "Examples", f"{part} (%) #", "images #", "Among the"]
    if not any(words.values()):
        headings, rows = headings[:-1], [row[:-1] for row in rows]
    yield section(title, table("examples", caption, headings, rows))


def best_and_worst(found: Sequence[float]) -> dict[int, str]:
    """The classes with the highest and the lowest accuracy, from the highest down, and which of the two each is.

    None is called best that is no better than the worst, nor worst that is as good as one of the best. Where a word
    holds for more than are named, it says so. Of few classes there are all, without a word.
    """
    by_accuracy = sorted(range(len(found)), key=lambda label: -found[label])
    if len(found) <= 2 * MOST_EXAMPLES:
        return dict.fromkeys(by_accuracy, "")
    best = [label for label in by_accuracy[:MOST_EXAMPLES] if found[label] > min(found)]
    bound = min((found[label] for label in best), default=min(found))
    worst = [label for label in by_accuracy[-MOST_EXAMPLES:] if found[label] < bound]
    words = {}
    for word, labels in (("best", best), ("worst", worst)):
        for label in labels:
            others = found.count(found[label]) - sum(found[other] == found[label] for other in labels)
            words[label] = f"{word}, with {others} more" if others else word
    return words


def _why(desk: Desk, state: StudyState, trial: PlannedTrial, record: TrialRecord, *, search: bool) -> Iterator[Content]:
    """The answer of `ccar why`. To look for the nearest trial takes a while: only for who asks for it."""
    answer = Why(nearest=None, differences=())
    if record.status == "absent":
        fingerprint = _fingerprint(desk, state, trial)
        if fingerprint is None:
            yield note("It has not run, and neither has any trial with its images: `ccar why` can tell more.")
            return
        if not search:
            here = address("/trial", study=state.name, cell=trial.cell.id, seed=str(trial.seed), why="1")
            yield link("It has not run. Which finished trial is most like it?", here)
            return
        answer = _nearest(desk.library.store, replace(trial, data_fingerprint=fingerprint))
    stops_early = state.study is not None and state.study.early_stopping is not None
    text = why_text(trial, record, answer, stopped_is_done=stops_early)
    yield html.Pre(text, tabIndex="0", className="log")


@made_once(16, _NEAREST_SECONDS)
def _nearest(store: TrialStore, trial: PlannedTrial) -> Why:
    return why(trial, store.all_records())


def _fingerprint(desk: Desk, state: StudyState, trial: PlannedTrial) -> str | None:
    """Of the images of the trial, as another trial of its imbalance factor and seed knows it."""
    begun = set(state.validation.loc[state.validation["status"] != "absent", "key"])
    for other in state.trials.values():
        if other.key in begun and other.config.data == trial.config.data and other.seed == trial.seed:
            record = desk.record(other.key)
            if record is not None and "data_fingerprint" in record.parts:
                return str(record.parts["data_fingerprint"])
    return None


def _configuration(trial: PlannedTrial, record: TrialRecord) -> Iterator[Content]:
    """The key and all that it digests, and where it was trained."""
    parts = record.parts or trial.config.model_dump(mode="json")
    rows = [[path, one_line(plain(value) if value is not None else MISSING)] for path, value in leaves(parts).items()]
    worker = record.worker
    where = (("Processor", worker.get("processor")), ("Threads", worker.get("threads")))
    software = ("Software", shown_versions(worker.get("versions", {})))
    yield facts(
        [
            ("Key", html.Code(trial.key)),
            *((name, MISSING if fact is None else one_line(str(fact))) for name, fact in (*where, software)),
        ]
    )
    yield html.Details(
        [
            html.Summary("All that the key digests"),
            table("parts", "What the key digests", ["Part", "value"], rows[:MOST_CLASSES]),
        ]
    )
