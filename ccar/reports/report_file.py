"""report.json: all that a report says, for other programs. What it holds, and how it is read back.

NaN and infinity are no JSON: a number that there is not is null, and more seeds than anybody would train are the text
"over 1000". Equal numbers make equal files but for `costs` and `machines`, which say when and where trials ran.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from ccar.errors import UserError
from ccar.store.records import TrialStatus
from ccar.study.wording import dotted, shown

SCHEMA_VERSION = 1

Value = bool | int | float | str | None
Row = dict[str, Value]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Row(BaseModel):
    """A row of a table: what every reader may count on, and the other columns beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Value] = Field(init=False)


class Finding(_Part):
    """What was found at one imbalance factor, in words."""

    headline: str
    details: list[str] = Field(description="one sentence per base loss")


class Recommendation(_Part):
    """One entry of best_omega.yaml."""

    data: str
    imbalance_factor: float | Literal["natural"]
    family: str = Field(description="the base loss, with its options and procedure")
    method: str = Field(description="label of the chosen method")
    seeds: int
    # Older reports lack it.
    tied: int = Field(
        1, description="candidates with the best mean on validation, this one included; above 1, the tie rule chose"
    )
    validation_balanced_accuracy: float
    test_accuracy: float | None
    test_balanced_accuracy: float | None
    gain_over_plain: float | None = Field(
        description="in balanced test accuracy, paired by seed; a share; null: no seed has finished both"
    )
    verdict: str | None = Field(description="of that gain; null: there is no plain base loss to compare with")
    study: dict[str, Any] = Field(description="an entry for methods.extra of a study file")
    build_loss: dict[str, Any] = Field(description="keyword arguments for ccar.losses.build_loss")
    # Older reports lack it.
    loss_factor: float = Field(1.0, description="multiplies the loss of build_loss; study has it too")


class CellRow(_Row):
    """One cell: the columns of cells.csv, and its configuration. Accuracies are shares in [0, 1]."""

    cell: str = Field(description="id of the cell in its study")
    method: str
    data: str
    imbalance_factor: str = Field(description="a number, or natural")
    planned: int = Field(description="seeds")
    finished: int = Field(description="seeds that did; only they are in a mean")
    configuration: dict[str, Any] = Field(description="what the keys of its trials digest, but seed, images and code")


class TrialRow(_Row):
    """One trial: the columns of trials.csv."""

    cell: str
    seed: int
    method: str
    data: str
    imbalance_factor: str = Field(description="a number, or natural")
    key: str = Field(description="sha256 of everything that can change the trial's numbers")
    data_fingerprint: str = Field(description="sha256 of the bytes of its images, and of which of them it sees")
    status: TrialStatus
    test_balanced_accuracy: float | None = Field(description="a share; null: it has not finished")


class Choice(_Row):
    """What validation images chose for one base loss: its omega, and what it reached."""

    data: str
    imbalance_factor: str = Field(description="a number, or natural")
    family: str = Field(description="the base loss, with its options and procedure")
    method: str = Field(description="label of the chosen method")
    omega: float


class Ranks(_Part):
    """Average ranks over the imbalance factors, 1 the best."""

    model_config = ConfigDict(extra="ignore")  # older reports have the results of tests here that were never made: null

    mean: dict[str, float] = Field(description="by method, of those with all their seeds everywhere")
    num_blocks: int = Field(description="imbalance factors")


class Figure(_Part):
    """A figure, which lies in figures/ under this name with the endings .png, .svg and .pdf."""

    name: str
    caption: str


class Provenance(_Part):
    """Where the numbers come from."""

    ccar: str = Field(description="version")
    training_code: str = Field(description="sha256 of the code that training runs; a part of every key")
    libraries: dict[str, str] = Field(description="versions of those that computed the report")
    study_file: str = Field(description="its text")


class Cost(_Row):
    """What one trial took and where it ran: the columns of costs.csv."""

    cell: str
    seed: int
    key: str


class Costs(_Part):
    """Hours of training and validation."""

    hours: float
    hours_by_device: dict[str, float]
    num_from_store: int = Field(description="trials that another study had trained before")
    hours_from_store: float
    num_stopped: int = Field(description="trials that early stopping ended")
    hours_spared_by_stopping: float
    claims: list[Row] = Field(description="what each choice took")
    trials: list[Cost]


class Report(_Part):
    """All that a report of ccar says."""

    schema_version: Literal[1] = Field(description="of this file")
    study: str
    question: str
    baseline: str = Field(description="label of the method that the others are compared with")
    missing_validation: bool = Field(description="no image was held out: nothing is chosen")
    summary: str = Field(description="what was run")
    not_finished: str
    warnings: list[str]
    findings: list[Finding]
    certainty: list[str] = Field(
        description="what the verdicts are corrected for, what test-picking would have claimed"
    )
    method_note: str = Field(description="how to read the numbers")
    recommendations: list[Recommendation]
    choices: list[Choice]
    optimism: list[Row] = Field(description="what picking omega on the test set would have claimed")
    flat_region: dict[str, bool | None] = Field(
        description="by cell: whether validation does not show it to be worse than the chosen one; null: cannot tell"
    )
    shape_and_scale: list[Row] = Field(description="parts of the gains, in a study with controls")
    published: list[Row] = Field(description="published numbers beside measured ones")
    ranks: Ranks | None
    cells: list[CellRow]
    trials: list[TrialRow]
    figures: list[Figure]
    provenance: Provenance
    costs: Costs
    machines: list[Row] = Field(description="what trained how many trials")


def report_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of report.json."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Report.model_json_schema()}


def read_report(path: Path) -> Report:
    """Read a report.json, or the one in a folder.

    Raises:
        UserError: it cannot be read, is no report, or was written for another version of the schema.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {file}: {error.strerror or error}", hint="give a report.json, or the folder of a report"
        ) from error
    try:
        return Report.model_validate_json(content)
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        version = next((part for part in wrong if part["loc"] == ("schema_version",)), None)
        if version is not None and version["type"] != "missing":
            raise UserError(
                f"{file}: schema version {version['input']!r} is unknown: expected {SCHEMA_VERSION}",
                hint="read it with the version of ccar that wrote it, or write it anew with `ccar report`",
            ) from error
        raise UserError(
            f"{file} is no report of ccar: {_mistake(wrong[0])}",
            hint="`ccar report STUDY --out DIR` writes one: DIR/report.json",
        ) from error


def _mistake(details: ErrorDetails) -> str:
    path, message = dotted(details["loc"]), details["msg"]
    if details["type"] == "missing":
        return f"{path} is missing"
    wanted = message.removeprefix("Input should be ")
    where = f"{path}: " if path else ""  # of the whole file there is none
    return where + (message if wanted == message else f"found {shown(details['input'])}, expected {wanted}")
