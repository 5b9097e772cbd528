"""A study file in the making: what is wrong with it and where, which trials it would run, what they would cost.

The text never makes this server open a file: images and weights that it names are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from dash import dcc, html

from ccar.cli.plan import duration, this_machine
from ccar.errors import StudyFileError
from ccar.reports.neutralise import one_line
from ccar.reports.wording import counted
from ccar.store.records import TrialRecord
from ccar.study.definition import Study, study_of_text
from ccar.study.expansion import Cell, PlannedTrial, cells_of, open_cells_of
from ccar.study.plan import plan_of
from ccar.study.yaml_source import parse_yaml
from dashboards.desk import Desk
from dashboards.elements import Content, facts, field, note, section, table

Fields = Mapping[str, str]
FILE = "study.yaml"
MOST_TIMINGS = 20  # finished trials that tell how long one takes
MOST_CELLS = 300  # rows of a table
_START = """\
study: my-study
question: Does CCAR help balanced softmax?
data: {name: digits, imbalance_factors: 50, validation_per_class: 20}
model: small_cnn
recipe: {name: digits_quick, epochs: 10}
methods:
  bases: [cross_entropy, balanced_softmax]
  reweighting: {omega: [0.5, 1.0]}
seeds: [0, 1, 2]
baseline: cross_entropy
"""


def controls(desk: Desk, fields: Fields) -> list[Content]:
    """The file, begun with that of a study where the address names one."""
    state = desk.library.state(fields.get("study", ""))
    text = _START if state is None else state.record.definition
    area = dcc.Textarea(id="plan-text", value=text, rows=16, spellCheck=False, wrap="off", className="code")
    return [
        field("Study file", area),
        html.Button("Download", id="plan-download", n_clicks=0, type="button"),
        dcc.Download(id="plan-file"),
        html.Div(id="plan", role="status"),
    ]


def results(desk: Desk, fields: Fields) -> list[Content]:
    """Nothing: what there is to say follows the text and not the address."""
    return []


def planned(desk: Desk, text: str) -> list[Content]:
    """What is said about a file with this text."""
    try:
        said = parse_yaml(text, FILE).data
        if "pretrained" in said or "${" in repr(said):  # of the parsed text: YAML has other ways to write a dollar
            return [note("Files and variables of this machine are not looked at here: `ccar validate FILE` does.")]
        study = study_of_text(text, FILE)
    except StudyFileError as error:
        problems = [
            html.Li(
                [
                    html.B("file" if problem.line is None else f"line {problem.line}"),
                    f": {one_line(problem.message)}",
                    html.Div(one_line(problem.hint), className="note") if problem.hint else None,
                ]
            )
            for problem in error.problems
        ]
        return [html.P(f"{counted(len(problems), 'mistake')}:", className="bad"), html.Ul(problems, id="mistakes")]
    cells = cells_of(study)
    searched = len(open_cells_of(study)) * (study.search.num_samples if study.search else 0)
    trials = [_trial(cell, seed) for cell in cells for seed in study.seeds]
    plan = plan_of(
        trials,
        {},
        islice(_timings(desk, study), MOST_TIMINGS),
        resources=study.resources,
        capacity=this_machine(),
        num_trials=len(trials) + searched * len(study.seeds),
    )
    rows = [[one_line(cell.id), one_line(cell.family), str(len(study.seeds))] for cell in cells[:MOST_CELLS]]
    return [
        facts(
            [
                ("Trials", f"{plan.total:,}: {counted(len(study.seeds), 'seed')} x {len(cells) + searched:,} cells"),
                ("At once on this machine", str(plan.slots)),
                (f"{plan.device.upper()} time", duration(plan.device_hours)),
                ("In all", duration(plan.wall_clock_hours)),
            ]
        ),
        note("As if none had run: `ccar plan` looks at the images and says how many are done. To run it:"),
        html.Pre(f"ccar run {FILE}", tabIndex="0", className="log"),
        section("Cells", table("plan-cells", f"{len(cells):,} cells", ["Cell", "base loss", "seeds #"], rows)),
    ]


def _trial(cell: Cell, seed: int) -> PlannedTrial:
    return PlannedTrial(cell=cell, config=cell.config.with_seed(seed), key=f"{cell.id} {seed}", data_fingerprint="")


def _timings(desk: Desk, study: Study) -> Iterator[TrialRecord]:
    """Finished trials of the same network and data."""
    for state in desk.library.states:
        finished = set(state.validation.loc[state.validation["status"] == "finished", "key"])
        for trial in state.trials.values():
            alike = trial.config.model == study.model and trial.config.data.name == study.data.name
            if alike and trial.key in finished and (record := desk.record(trial.key)) is not None:
                yield record
