"""The one file that imports MLflow: shows studies and trials there as experiments and runs.

A trial's run is found again by its tags, and ending the run is the last thing that is sent: a run that has
the store's end time on the server has everything. So any call may be cut off and made again. One of them does its
work twice then, the one that creates a run: MLflow's client sends a request again when no answer comes, and the server
may have done it. Such doubles are deleted at the end of each delivery, and whenever runs are looked up.
"""

from __future__ import annotations

import json
import logging
import tempfile
import urllib.parse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import requests
import sqlalchemy.exc
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from ccar.errors import TrackingError
from ccar.store.records import StudyRecord, StudyTrial, TrialRecord
from ccar.tracking.address import is_server, shown, sqlite_file, without_secrets
from ccar.tracking.run_content import (
    PER_CLASS_FILE,
    DataDescription,
    Point,
    RunContent,
    milliseconds,
    run_content,
)
from ccar.tracking.study_content import digest_of_plan, question_of, report_tags
from ccar.training.result import TestResult

_RUNS_PER_PAGE = 200  # a page of 1,000 takes as long per run, and 150 MB
_REPORT = "report"  # the folder of a study's parent run
_REMARK = "(raised as a result of Query-invoked autoflush"  # SQLAlchemy's, before what the database says
_URI_LIMIT = 200  # characters of the column runs.artifact_uri
_LENGTH_OF_RUN = len("/") + 32 + len("/artifacts")  # what MLflow adds for each run, whose name has 32 digits

# MLflow logs the traceback of every database error before it raises the error that we turn into ours, and
# tells about the tables that it creates.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


@dataclass(slots=True)
class _KnownRun:
    """What the server has of one run, as far as we know."""

    run_id: str
    artifact_uri: str
    status: str
    start_time: int
    end_time: int | None
    tags: dict[str, str]
    has_params: bool = False
    has_data: bool = False
    points_sent: int = 0  # by this process; more may be there

    @classmethod
    def of(cls, run: Run) -> _KnownRun:
        info = run.info
        return cls(
            run_id=info.run_id,
            artifact_uri=info.artifact_uri,
            status=info.status,
            start_time=info.start_time,
            end_time=info.end_time,
            tags=dict(run.data.tags),
            has_params=bool(run.data.params),
            has_data=bool(run.inputs and run.inputs.dataset_inputs),
        )

    def has_ended_as(self, content: RunContent) -> bool:
        return content.end_time is not None and (self.status, self.end_time) == (
            content.status,
            content.end_time,
        )

    def rank(self) -> tuple[int, bool, bool, bool, str]:
        """Of two runs that show the same, the higher one has got further; between equals the id decides, for all."""
        return self.end_time or 0, self.has_params, self.has_data, "ccar.study_version" in self.tags, self.run_id


@dataclass(slots=True)
class _KnownRuns:
    """The runs of one experiment that are ours."""

    parent: _KnownRun | None = None
    trials: dict[str, _KnownRun] = field(default_factory=dict)  # by trial key

    def that_shows_the_same_as(self, run: _KnownRun) -> _KnownRun | None:
        """The one of the same trial, or of the study; None when there is none, or `run` shows neither."""
        if run.tags.get("ccar.kind") == "study":
            return self.parent
        return self.trials.get(run.tags.get("ccar.trial_key", ""))

    def put(self, run: _KnownRun) -> None:
        """Add one, by what it shows."""
        if run.tags.get("ccar.kind") == "study":
            self.parent = run
        elif "ccar.trial_key" in run.tags:
            self.trials[run.tags["ccar.trial_key"]] = run


class Projection:
    """Sends studies to one MLflow store or server. Of each study, only one process may at a time (see outbox.py)."""

    def __init__(self, tracking_uri: str, artifact_root: str | None, store_id: str) -> None:
        """Connect; a new SQLite file gets its tables here.

        Args:
            store_id: whose runs these are: runs of other stores in the same experiment are left alone.
            tracking_uri: a server, or a database that MLflow opens.
            artifact_root: URI of the folder for the files of runs; None: the server decides.

        Raises:
            TrackingError: it cannot be opened.
        """
        self._uri = tracking_uri
        self._artifact_root = artifact_root
        self._store_id = store_id
        self._studies: dict[str, StudyProjection] = {}
        with _tracking_errors(tracking_uri), warnings.catch_warnings():
            # MLflow's own tables use an option that SQLAlchemy is going to drop: nothing a user could mend.
            warnings.filterwarnings("ignore", "The ``noload`` loader", sqlalchemy.exc.SADeprecationWarning)
            self._client = MlflowClient(tracking_uri)

    def study(self, study: StudyRecord) -> StudyProjection:
        """The experiment and the parent run of this study, found or created, and up to date with `study`.

        Raises:
            TrackingError: MLflow did not take it.
        """
        known = self._studies.get(study.name)
        if known is None:
            with _tracking_errors(self._uri):
                experiment = self._find_or_create_experiment(study.name)
                known = StudyProjection(self._client, self._uri, study.name, experiment.experiment_id, self._store_id)
            self._studies[study.name] = known
        known.put_study(study)
        return known

    def forget(self, study_name: str) -> None:
        """Look a study up again before its next delivery: somebody else may have written, or it failed."""
        self._studies.pop(study_name, None)

    def _find_or_create_experiment(self, name: str) -> Experiment:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = self._artifact_root and f"{self._artifact_root}/{urllib.parse.quote(name, safe='')}"
            self._check_length(location)
            # The kind makes MLflow's page open on the table of runs instead of asking what this is about.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            return self._client.get_experiment(self._client.create_experiment(name, location, tags))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        self._check_location(found)
        return found

    def _check_length(self, location: str | None) -> None:
        """All databases but SQLite refuse a run whose files are at a longer address.

        Raises:
            TrackingError: the runs of this experiment would be refused.
        """
        if location is None or sqlite_file(self._uri) is not None:
            return
        if len(location) + _LENGTH_OF_RUN > _URI_LIMIT:
            raise TrackingError(
                f"{shown(self._uri)} takes no run whose files are at so long an address: "
                f"found {location}, expected {_URI_LIMIT - _LENGTH_OF_RUN} characters at most",
                hint="give the store a shorter path, or the study a shorter name",
            )

    def _check_location(self, experiment: Experiment) -> None:
        """MLflow notes the absolute path of an experiment's files, and would make that folder anew wherever it was.

        Raises:
            TrackingError: the files are not where they were written.
        """
        location = urllib.parse.urlsplit(experiment.artifact_location)
        if location.scheme != "file" or experiment.artifact_location.startswith(self._artifact_root or "file:"):
            return
        folder = urllib.parse.unquote(location.path)
        if not Path(folder).exists():
            is_file = sqlite_file(self._uri) is not None
            raise TrackingError(
                f"the files of {experiment.name!r} in MLflow were in {folder}, which is not there",
                hint="was the store moved? Delete mlflow.db in it, and run `ccar sync`: all of it is made again"
                if is_file
                else "was the store moved, or is that a study of another machine? Give this one another name",
            )


class StudyProjection:
    """One study's experiment: a parent run, and below it one run per trial."""

    def __init__(
        self, client: MlflowClient, tracking_uri: str, study_name: str, experiment_id: str, store_id: str
    ) -> None:
        self._client = client
        self._uri = tracking_uri
        self._experiment_id = experiment_id
        self._family = {"ccar.study": study_name, "ccar.store": store_id}  # tags of the runs that are ours
        self._created_since: int | None = None  # start of the earliest run that may be there twice
        self._runs = self._find_runs()

    def put_study(self, study: StudyRecord) -> None:
        """Find or create the parent run, and let it carry the study's file and plan.

        Raises:
            TrackingError: MLflow did not take it.
        """
        with _tracking_errors(self._uri):
            if self._runs.parent is None:
                page = f"/study?study={urllib.parse.quote(study.name)}"
                note = f"Its progress, best omega and trials are in ccar's dashboard: `ccar ui`, page `{page}`"
                tags = {"mlflow.runName": study.name, "mlflow.note.content": note, "ccar.kind": "study"}
                if question := question_of(study.definition):
                    tags["ccar.question"] = question
                self._runs.parent = self._create_run(milliseconds(study.submitted_at), tags)
                self._delete_doubles()
            parent = self._runs.parent
            version = digest_of_plan(study)
            if parent.tags.get("ccar.study_version") != version:
                plan = json.dumps([asdict(trial) for trial in study.trials], indent=1)
                _put_text(self._uri, parent, {"study.yaml": study.definition, "plan.json": plan})
                self._client.set_tag(parent.run_id, "ccar.study_version", version)
                parent.tags["ccar.study_version"] = version

    def has(self, trial_key: str) -> bool:
        """Whether there was a run of this trial when the study was looked up, or one was created since."""
        return trial_key in self._runs.trials

    def deliver(self, trial: StudyTrial, record: TrialRecord, test: TestResult | None) -> int:
        """Bring one trial's run up to the store's state, in as few calls as MLflow allows.

        Returns:
            How many points were sent: 0 when the server has them already.

        Raises:
            TrackingError: MLflow did not take it; call again later, after `Projection.forget`.
        """
        content = run_content(trial, record, test)
        with _tracking_errors(self._uri):
            return self._deliver(trial.key, content)

    def settle(self, trials: Sequence[StudyTrial]) -> None:
        """Delete runs that were created twice; end the parent run if all trials have ended, or open it again if not.

        Raises:
            TrackingError: MLflow did not take it.
        """
        parent = self._runs.parent
        assert parent is not None, "put_study comes first"
        runs = [self._runs.trials.get(trial.key) for trial in trials]
        ended = [run for run in runs if run is not None and run.status != "RUNNING"]
        with _tracking_errors(self._uri):
            self._delete_doubles()
            self._tag_parent({"ccar.progress": f"{len(ended):,} of {len(runs):,}"})
            if len(ended) == len(runs) and ended:
                failed = any(run.tags.get("ccar.status") == "failed" for run in ended)
                status = "FAILED" if failed else "FINISHED"
                end_time = max(run.end_time or 0 for run in ended)
                if (parent.status, parent.end_time) != (status, end_time):
                    self._client.set_terminated(parent.run_id, status, end_time)
                    parent.status, parent.end_time = status, end_time
            elif parent.status != "RUNNING":
                self._client.update_run(parent.run_id, status="RUNNING")
                parent.status = "RUNNING"

    def log_report(self, folder: Path) -> None:
        """Put the files of a report into the parent run, under report/, and what it has found into its tags.

        Files of a former report that this one does not have are removed, where this user may do that.

        Raises:
            TrackingError: MLflow did not take them.
        """
        parent = self._runs.parent
        assert parent is not None, "put_study comes first"
        with _tracking_errors(self._uri):
            with _files_of(parent, self._uri) as files:
                files.log_artifacts(str(folder), _REPORT)  # type: ignore[no-untyped-call]
            with suppress(MlflowException), _files_of(parent, self._uri) as files:
                _delete_outdated(files, folder, _REPORT)
            if (report := folder / "report.json").is_file():
                self._tag_parent(report_tags(report.read_bytes()))

    def _tag_parent(self, tags: Mapping[str, str]) -> None:
        parent = self._runs.parent
        assert parent is not None, "put_study comes first"
        new = {name: value for name, value in tags.items() if parent.tags.get(name) != value}
        if new:
            self._client.log_batch(parent.run_id, tags=[RunTag(name, value) for name, value in new.items()])
            parent.tags.update(new)

    def _deliver(self, key: str, content: RunContent) -> int:
        run = self._runs.trials.get(key)
        if run is not None and run.start_time != content.start_time:
            # Somebody deleted the trial from the store, and it was trained anew: other points, other times.
            self._client.delete_run(run.run_id)
            run = None
        if run is None:
            run = self._create_run(content.start_time, content.tags)
            self._runs.trials[key] = run
        complete = run.has_ended_as(content)
        tags = {name: value for name, value in content.tags.items() if run.tags.get(name) != value}
        if complete and not tags:
            return 0
        if run.status != "RUNNING" and content.status == "RUNNING":
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = "RUNNING"
        if "ccar.error" in run.tags and "ccar.error" not in content.tags:  # it failed before; not any more
            self._client.delete_tag(run.run_id, "ccar.error")
            del run.tags["ccar.error"]
        if not run.has_data:
            self._client.log_inputs(run.run_id, [_dataset_input(content.data)])
            run.has_data = True
        if content.per_class is not None and not complete:
            _put_text(self._uri, run, {PER_CLASS_FILE: content.per_class})
        points = content.points[len(content.points) if complete else run.points_sent :]
        self._client.log_batch(
            run.run_id,
            metrics=[_metric(point) for point in points],
            params=[] if run.has_params else [Param(name, value) for name, value in content.params.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        run.has_params, run.points_sent = True, len(content.points)
        run.tags.update(tags)
        if content.end_time is not None and not complete:
            self._client.set_terminated(run.run_id, content.status, content.end_time)
            run.status, run.end_time = content.status, content.end_time
        return len(points)

    def _create_run(self, start_time: int, tags: Mapping[str, str]) -> _KnownRun:
        if is_server(self._uri):  # else no answer can get lost
            self._created_since = start_time if self._created_since is None else min(self._created_since, start_time)
        above = {} if self._runs.parent is None else {"mlflow.parentRunId": self._runs.parent.run_id}
        return _KnownRun.of(self._client.create_run(self._experiment_id, start_time, {**tags, **self._family, **above}))

    def _delete_doubles(self) -> None:
        """Leave one of the runs that were created twice: an answer got lost, or another process delivers as well.

        Both know that server by other names then, and take no turns. They agree on which run stays.
        """
        if self._created_since is None:
            return
        kept = self._find_runs(f"attributes.start_time >= {self._created_since}")
        for run in (kept.parent, *kept.trials.values()):
            if run is not None:
                known = self._runs.that_shows_the_same_as(run)
                if known is not None and known.run_id != run.run_id:
                    self._runs.put(run)
        self._created_since = None

    def _find_runs(self, filter_string: str = "") -> _KnownRuns:
        """What is there. Of runs that show the same, the one that has got furthest stays: the least is sent again."""
        found = _KnownRuns()
        for run in sorted(self._search(filter_string), key=_KnownRun.rank, reverse=True):
            if found.that_shows_the_same_as(run) is None:
                found.put(run)
            else:
                self._client.delete_run(run.run_id)
        return found

    def _search(self, filter_string: str) -> list[_KnownRun]:
        """Our runs, read to the last page before one is deleted: pages are counted from the first run on."""
        found: dict[str, _KnownRun] = {}  # by id: what is created meanwhile can move a run to the next page
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], filter_string, max_results=_RUNS_PER_PAGE, page_token=token
            )
            runs = map(_KnownRun.of, page)
            found |= {run.run_id: run for run in runs if self._family.items() <= run.tags.items()}
            token = page.token
            if not token:
                return list(found.values())


def _metric(point: Point) -> Metric:
    return Metric(point.key, point.value, point.timestamp, point.step)


def _dataset_input(data: DataDescription) -> DatasetInput:
    dataset = Dataset(
        name=data.name,
        digest=data.digest,
        source_type=data.source_type,
        source=data.source,
        profile=data.profile,
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _put_text(tracking_uri: str, run: _KnownRun, files: dict[str, str]) -> None:
    """Write text files into a run. MlflowClient.log_text would read the whole run first: 3 ms more each."""
    with tempfile.TemporaryDirectory() as folder, _files_of(run, tracking_uri) as repository:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        repository.log_artifacts(folder)  # type: ignore[no-untyped-call]


def _delete_outdated(files: ArtifactRepository, folder: Path, path: str) -> None:
    """Remove what is below `path` and not in this report, whole folders first."""
    for found in files.list_artifacts(path):
        here = folder / PurePosixPath(found.path).relative_to(_REPORT)
        if not here.exists():
            files.delete_artifacts(found.path)  # type: ignore[no-untyped-call]
        elif found.is_dir:
            _delete_outdated(files, folder, found.path)


@contextmanager
def _files_of(run: _KnownRun, tracking_uri: str) -> Iterator[ArtifactRepository]:
    """The place of a run's files. MLflow knows whose library that takes; what it raises becomes MLflow's error."""
    try:
        yield get_artifact_repository(run.artifact_uri, tracking_uri=tracking_uri)
    except Exception as error:
        raise MlflowException(f"cannot use {run.artifact_uri}, where the files of runs are: {error}") from error


@contextmanager
def _tracking_errors(tracking_uri: str) -> Iterator[None]:
    """What MLflow, its database layer and its HTTP client raise, or an artifact folder, as our own error."""
    try:
        yield
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, requests.RequestException, OSError) as error:
        lines = [line for line in str(error).strip().splitlines() if not line.startswith(_REMARK)] or [""]
        reason = without_secrets(lines[0], tracking_uri)
        raise TrackingError(
            f"MLflow at {shown(tracking_uri)}: {reason}",
            hint="nothing is lost, the trials are in the store: run `ccar sync` when it is mended",
        ) from error
