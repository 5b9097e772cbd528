"""A study file in the making: what is wrong with it and where, which trials it would run, what they would cost.

The text never makes this server open a file: images and weights that it names are not looked at.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dash import dcc, html

from ccar.cli.plan import duration, this_machine
from ccar.errors import StudyFileError
from ccar.reports.neutralise import one_line
from ccar.reports.wording import counted
from ccar.store.records import TrialRecord
from ccar.study.definition import study_of_text
from ccar.study.expansion import Cell, PlannedTrial, cells_of, num_trials_of
from ccar.study.plan import kinds_of, plan_of
from ccar.study.yaml_source import parse_yaml
from dashboards.desk import Desk
from dashboards.elements import Content, facts, field, note, section, table, worded

Fields = Mapping[str, str]
FILE = "study.yaml"
MOST_CHARACTERS = 100_000  # of a file; none in studies/ has a tenth of that
MOST_TRIALS = 20_000  # that are laid out while somebody waits
MOST_TIMINGS = 20  # finished trials of a kind that tell how long one takes
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
    area = dcc.Textarea(
        id="plan-text",
        value=text,
        rows=16,
        spellCheck=False,
        wrap="off",
        className="code",
        persistence=state.name if state else True,  # what was typed is there again after a look elsewhere
        persistence_type="session",
    )
    return [
        field("Study file", area),
        html.Button("Open a file", type="button", **{"data-opens": "plan-text", "data-most": str(MOST_CHARACTERS)}),
        html.Button("Download", id="plan-download", n_clicks=0, type="button"),
        dcc.Download(id="plan-file"),
        html.Div(id="plan", role="status"),
    ]


def results(desk: Desk, fields: Fields) -> list[Content]:
    """Nothing: what there is to say follows the text and not the address."""
    return []


def planned(desk: Desk, text: str) -> list[Content]:
    """What is said about a file with this text."""
    if len(text) > MOST_CHARACTERS:
        return [note(f"The file has more than {MOST_CHARACTERS:,} characters. `ccar plan FILE` takes more.")]
    try:
        said = parse_yaml(text, FILE).data
        if (most := most_trials(said)) > MOST_TRIALS:
            return _too_many(most)
        if "pretrained" in said or "${" in repr(said):  # of the parsed text: YAML has other ways to write a dollar
            return [note("Files and variables of this machine are not looked at here: `ccar validate FILE` does.")]
        study = study_of_text(text, FILE)
    except StudyFileError as error:
        problems = [
            html.Li(
                [
                    html.B("file" if problem.line is None else f"line {problem.line}"),
                    html.Span([": ", *worded(problem.message)]),
                    html.Div(worded(problem.hint), className="note") if problem.hint else None,
                ]
            )
            for problem in error.problems
        ]
        return [html.P(f"{counted(len(problems), 'mistake')}:", className="bad"), html.Ul(problems, id="mistakes")]
    num_trials = num_trials_of(study)
    if num_trials > MOST_TRIALS:
        return _too_many(num_trials)
    cells = cells_of(study)
    trials = [_trial(cell, seed) for cell in cells for seed in study.seeds]
    plan = plan_of(
        trials,
        {},
        _timings(desk, cells),
        resources=study.resources,
        capacity=this_machine(),
        num_trials=num_trials,
    )
    rows = [[one_line(cell.id), one_line(cell.family), str(len(study.seeds))] for cell in cells[:MOST_CELLS]]
    return [
        facts(
            [
                (
                    "Trials",
                    f"{plan.total:,}: {counted(len(study.seeds), 'seed')} x {plan.total // len(study.seeds):,} cells",
                ),
                ("At once on this machine", str(plan.slots)),
                (f"{plan.device.upper()} time", duration(plan.device_hours)),
                ("In all", duration(plan.wall_clock_hours)),
            ]
        ),
        note("As if none had run: `ccar plan` looks at the images and says how many are done. To run it:"),
        html.Pre(desk.run_command(FILE), tabIndex="0", className="log"),
        section("Cells", table("plan-cells", f"{len(cells):,} cells", ["Cell", "base loss", "seeds #"], rows)),
    ]


def most_trials(said: Mapping[str, Any]) -> int:
    """How many trials a file may ask for, by the lengths of its lists: known before anything is made of them.

    Args:
        said: the parsed file, whatever may be wrong with it. What a search comes up with does not count.

    Example:
        >>> most_trials({"methods": {"bases": ("focal", "ldam"), "reweighting": {"omega": (0.5, 1)}}, "seeds": (0, 1)})
        12
    """
    data, methods = (part if isinstance(part, Mapping) else {} for part in (said.get("data"), said.get("methods")))
    grids = [grid for grid in _listed(methods.get("reweighting", ())) if isinstance(grid, Mapping)]
    points = sum(math.prod(_num_values(name, values) for name, values in grid.items()) for grid in grids)
    cells = len(_listed(methods.get("bases"))) * (1 + points) + len(_listed(methods.get("extra", ())))
    return cells * len(_listed(data.get("imbalance_factors"))) * len(_listed(said.get("seeds")))


def _too_many(num_trials: int) -> list[Content]:
    return [note(f"It may ask for {num_trials:,} trials; here for {MOST_TRIALS:,}. `ccar plan FILE` takes more.")]


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, tuple) else (value,)


def _num_values(name: str, values: object) -> int:
    """Of a switch of Omega; numbers for the class frequency are one vector."""
    listed = _listed(values)
    is_vector = name == "frequency" and any(isinstance(value, int | float) for value in listed)
    return 1 if is_vector else len(listed)


def _trial(cell: Cell, seed: int) -> PlannedTrial:
    return PlannedTrial(cell=cell, config=cell.config.with_seed(seed), key=f"{cell.id} {seed}", data_fingerprint="")


def _timings(desk: Desk, cells: Sequence[Cell]) -> Iterator[TrialRecord]:
    """Finished trials that take about as long as those of some of these cells: a few of each kind."""
    wanted = {kind for cell in cells for kind in kinds_of(cell.config)}
    num_read: Counter[object] = Counter()
    for state in desk.library.states:
        finished = set(state.validation.loc[state.validation["status"] == "finished", "key"])
        kinds = {trial.cell.id: kinds_of(trial.cell.config) for trial in state.trials.values() if trial.key in finished}
        for trial in state.trials.values():
            if trial.key not in finished:
                continue
            nearest, alike = kinds[trial.cell.id]
            if alike in wanted and num_read[nearest] < MOST_TIMINGS and (record := desk.record(trial.key)) is not None:
                num_read[nearest] += 1
                yield record
