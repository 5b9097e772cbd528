"""What MLflow is to show of one trial, as plain values: a pure function of the store's records.

The same trial gives the same names, values, steps and timestamps at any time, on any host. MLflow stores
identical points once, so sending them again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ccar.data.config import WHEREABOUTS
from ccar.metrics.accuracy import Evaluation
from ccar.store.records import StudyTrial, TrialRecord, TrialStatus
from ccar.training.result import TestResult

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

STATUS: Mapping[TrialStatus, RunStatus] = {
    "unfinished": "RUNNING",
    "finished": "FINISHED",
    "stopped": "KILLED",  # by the early-stopping rule of its study
    "diverged": "FAILED",
    "failed": "FAILED",
}
PER_CLASS_FILE = "per_class_accuracy.json"

_WHEREABOUTS: Any = {"data": set(WHEREABOUTS), "pretrained": {"path"}}
_NO_PARAMS: Any = {**_WHEREABOUTS, "stage_one": _WHEREABOUTS}
_PARAM_LIMIT = 6000  # characters; MLflow cuts longer values off
_TAG_LIMIT = 5000  # all of MLflow's stores take this much
_NAME_LIMIT = 250
_DIGEST_LIMIT = 36


class Point(NamedTuple):
    """One value of one metric. `timestamp` is Unix time in milliseconds; `step` is the epoch, from 1."""

    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDescription:
    """The data set as MLflow lists it; `source` and `profile` are JSON."""

    name: str
    digest: str
    source_type: str
    source: str
    profile: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """One trial as an MLflow run. Times are Unix time in milliseconds; `end_time` is None while it runs."""

    status: RunStatus
    start_time: int
    end_time: int | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    points: tuple[Point, ...]
    per_class: str | None  # a table in MLflow's own JSON; None while it runs or when nothing was evaluated
    data: DataDescription


def run_content(trial: StudyTrial, record: TrialRecord, test: TestResult | None) -> RunContent:
    """Describe a trial that has begun.

    Args:
        trial: its names in the study.
        record: what the store knows of it; not `absent`.
        test: its test results, once it has finished.
    """
    if record.config is None or record.started_at is None or record.ended_at is None:
        raise ValueError(f"trial {record.key[:12]} has not begun")
    status = STATUS[record.status]
    ended = status != "RUNNING"
    per_class = _per_class_table(record, test) if ended else None
    return RunContent(
        status=status,
        start_time=milliseconds(record.started_at),
        end_time=milliseconds(record.ended_at) if ended else None,
        tags=_tags(trial, record, has_table=per_class is not None),
        params=dict(_params(record.config.model_dump(mode="json", exclude=_NO_PARAMS))),
        points=tuple(point for point in _points(record, test) if math.isfinite(point.value)),
        per_class=per_class,
        data=_data(record),
    )


def milliseconds(seconds: float) -> int:
    """MLflow's unit of time."""
    return round(seconds * 1000)


def _tags(trial: StudyTrial, record: TrialRecord, *, has_table: bool) -> dict[str, str]:
    tags = {
        "mlflow.runName": f"{trial.cell} seed {trial.seed}"[-_NAME_LIMIT:],  # the seed is at its end
        "ccar.kind": "trial",
        "ccar.trial_key": trial.key,
        "ccar.cell": trial.cell,
        "ccar.method": trial.method,
        "ccar.seed": str(trial.seed),
        "ccar.status": record.status,
        "ccar.code": str(record.parts.get("code", "")),
        "ccar.host": str(record.worker.get("host", "")),
        "ccar.worker": json.dumps(_place(record.worker), sort_keys=True, default=str),
    }
    if record.error:
        tags["ccar.error"] = _unicode(record.error)[-_TAG_LIMIT:]  # a traceback's last line is the error
    if has_table:  # what MlflowClient.log_table leaves, for the UI and for mlflow.load_table
        tags["mlflow.loggedArtifacts"] = json.dumps([{"path": PER_CLASS_FILE, "type": "table"}])
    return {name: value[:_TAG_LIMIT] for name, value in tags.items() if value}


def _unicode(text: str) -> str:
    """What every database takes: an error may name a file whose name is no Unicode; PostgreSQL refuses NUL, too."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")


def _place(worker: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that may explain a number or a speed, without those that only name the process."""
    return {name: fact for name, fact in worker.items() if name not in {"machine", "pid", "process_started"}}


def _params(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The configuration under dotted names; what is None or empty is left out, as it has no say."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _params(value, f"{prefix}{name}.")
        elif value is not None and value != []:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield prefix + name, _shortened(text)


def _shortened(text: str) -> str:
    if len(text) <= _PARAM_LIMIT:
        return text
    mark = f" ... ({len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()})"
    return text[: _PARAM_LIMIT - len(mark)] + mark


def _points(record: TrialRecord, test: TestResult | None) -> Iterator[Point]:
    for epoch in record.epochs:
        timestamp = milliseconds(epoch.finished_at)
        measured = {
            "train.loss": epoch.train_loss,
            "learning_rate": epoch.learning_rate,
            "images_per_second": epoch.images_per_second,
            "seconds": epoch.seconds,
            **{f"chosen.{name}": value for name, value in epoch.chosen.items()},
        }
        for name, value in measured.items():
            if value is not None:
                yield Point(name, value, timestamp, epoch.epoch)
        if epoch.validation is not None:
            yield from _evaluation("val", epoch.validation, timestamp, epoch.epoch)
    if test is not None and record.ended_at is not None:
        timestamp = milliseconds(record.ended_at)
        yield from _evaluation("test", test.last_epoch, timestamp, record.epochs[-1].epoch)
        if test.best_epoch is not None and test.best_epoch_index is not None:
            yield from _evaluation("test_best", test.best_epoch, timestamp, test.best_epoch_index)


def _evaluation(part: str, found: Evaluation, timestamp: int, step: int) -> Iterator[Point]:
    yield Point(f"{part}.loss", found.loss, timestamp, step)
    yield Point(f"{part}.accuracy", found.accuracy, timestamp, step)
    yield Point(f"{part}.balanced_accuracy", found.balanced_accuracy, timestamp, step)
    optional = {"many": found.many, "medium": found.medium, "few": found.few, "ece": found.ece}
    for name, value in optional.items():
        if value is not None:
            yield Point(f"{part}.{name}", value, timestamp, step)


def _per_class_table(record: TrialRecord, test: TestResult | None) -> str | None:
    """Accuracy per class, a row each, as pandas writes `orient="split"`: MLflow's own format of tables."""
    columns: dict[str, tuple[float, ...]] = {}
    if record.epochs and record.epochs[-1].validation is not None:
        columns["val"] = record.epochs[-1].validation.per_class
    if test is not None:
        columns["test"] = test.last_epoch.per_class
        if test.best_epoch is not None:
            columns["test_best"] = test.best_epoch.per_class
    columns = {name: values for name, values in columns.items() if values}
    if not columns:
        return None
    rows = [
        [label, count, *values]
        for label, (count, *values) in enumerate(zip(record.class_counts, *columns.values(), strict=True))
    ]
    return json.dumps({"columns": ["class", "train_images", *columns], "data": rows})


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _data(record: TrialRecord) -> DataDescription:
    assert record.config is not None
    data = record.config.data
    description = data.model_dump(mode="json", exclude=set(WHEREABOUTS), exclude_none=True)
    # The two kinds of source that mlflow.data.get_source reads back: a folder, or the code that has the data.
    source_type, source = (
        ("code", {"tags": {"mlflow.source.name": f"ccar {data.name}"}})
        if data.root is None
        else ("local", {"uri": str(data.root)})
    )
    return DataDescription(
        name=f"{data.name} IF {_number(data.imbalance_factor)}",
        digest=str(record.parts.get("data_fingerprint", record.key))[:_DIGEST_LIMIT],
        source_type=source_type,
        source=json.dumps(source),
        profile=json.dumps(description),
    )
