"""`ccar list`: what can be named in a study file, which study files there are, and what has been run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel

from ccar.data.config import DatasetName
from ccar.errors import StoreError, StudyFileError, UserError
from ccar.store.records import StudyRecord, TrialRecord
from ccar.store.trial_store import TrialStore
from ccar.study.definition import load_study, study_of_text
from ccar.study.parts import plain
from ccar.study.plan import states_to_run
from ccar.study.stored import num_to_suggest
from ccar.training.config import BaseLoss, Procedure

Kind = Literal["methods", "datasets", "studies", "runs"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_READS_AT_ONCE = 16  # a bucket takes a tenth of a second for a trial, whoever else asks
_COUNTS = ("trials", "finished", "stopped", "diverged", "failed", "to go", "unreadable", "hours of training")

DATASETS: Mapping[DatasetName, str] = {
    "digits": "1,797 grey images of 8 x 8 pixels, 10 classes; comes with scikit-learn",
    "cifar10": "60,000 colour images of 32 x 32 pixels, 10 classes, or cifar10_lt; `download: true` fetches it",
    "cifar100": "60,000 colour images of 32 x 32 pixels, 100 classes, or cifar100_lt; `download: true` fetches it",
    "image_folder": "your own: ROOT/train/CLASS/*, ROOT/test/CLASS/*; PNG, JPEG or WebP",
    "imagenet_lt": "185,846 photographs, 1,000 classes, as its public lists name them; see docs/data.md",
    "inaturalist2018": "461,939 photographs, 8,142 species, by lists or annotations; see docs/data.md",
    "places_lt": "106,300 scenes, 365 classes, as its public lists name them; see docs/data.md",
}


def listing(kind: Kind, store: TrialStore, studies: Path) -> list[Mapping[str, object]]:
    """The rows of one list, as plain JSON with the same keys in every row.

    Args:
        kind: what to list.
        store: for `runs`.
        studies: the folder of study files, for `studies`.
    """
    match kind:
        case "methods":
            losses, procedures = (get_args(get_args(union)[0]) for union in (BaseLoss, Procedure))
            return [
                *(_method(model, "base loss") for model in losses),
                *(_method(model, "procedure") for model in procedures),
            ]
        case "datasets":
            return [{"data set": name, "what it is": what} for name, what in DATASETS.items()]
        case "studies":
            return [_study_file(path) for path in sorted(studies.glob("*.yaml"))]
        case "runs":
            return runs_of(store, list(store.study_versions()))


def runs_of(store: TrialStore, studies: Sequence[str]) -> list[Mapping[str, object]]:
    """The rows of `runs` for these studies, as far as the store has them; reads all of their trials."""
    return [row for name in studies if (row := _run(store, name)) is not None]


def listing_of_cluster(kind: Kind, address: str, store: str | None) -> list[Mapping[str, object]]:
    """The rows for a cluster.

    Args:
        kind: what to list; a cluster has `runs`.
        address: of the cluster's job server.
        store: folder of trials on the cluster; None: the one that the cluster names.

    Raises:
        UserError: the cluster cannot be reached, or cannot tell.
    """
    from ccar.cluster.jobs import JobServer
    from ccar.cluster.questions import ask

    if kind != "runs":
        raise UserError(f"--address goes with runs: found {kind}", hint="the same ccar lists the same everywhere")
    rows: list[Mapping[str, object]] = ask(JobServer.connect(address), store, ["runs"])
    return rows


def _method(model: type[BaseModel], kind: str) -> Mapping[str, object]:
    fields = model.model_fields
    options = {name: field.default for name, field in fields.items() if name != "name"}
    return {
        "method": fields["name"].default,
        "kind": kind,
        "options": ", ".join(f"{name}={_default(value)}" for name, value in options.items()),
        "what it is": (model.__doc__ or "").strip().splitlines()[0],
    }


def _default(value: object) -> str:
    if isinstance(value, tuple) and len(value) > 2:
        return f"{plain(value[0])}|{plain(value[1])}|...|{plain(value[-1])}"
    return "|".join(map(plain, value)) if isinstance(value, tuple) else plain(value)


def _study_file(path: Path) -> Mapping[str, object]:
    try:
        study = load_study(path)
    except StudyFileError as error:
        return {"file": str(path), "study": "", "question": f"not valid: {error.problems[0].message}"}
    return {"file": str(path), "study": study.name, "question": study.question.strip()}


def _readable(store: TrialStore, key: str) -> TrialRecord | None:
    """None for one that is damaged, or that another version of ccar has stored: the others are told all the same."""
    try:
        return store.read(key)
    except StoreError:
        return None


def _run(store: TrialStore, name: str) -> Mapping[str, object] | None:
    try:
        record = store.study(name)
    except StoreError as error:  # the others are told all the same
        return {"study": name, **dict.fromkeys(_COUNTS, ""), "last activity": str(error)}
    if record is None:
        return None
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        read = pool.map(partial(_readable, store), [trial.key for trial in record.trials])
        trials = [found for found in read if found is not None]
    count = Counter(trial.status for trial in trials)
    num_unreadable = len(record.trials) - len(trials)
    num_trials, stopped_is_done = _size(record)
    again = states_to_run(stopped_is_done=stopped_is_done)
    num_done = sum(number for status, number in count.items() if status not in again)
    latest = max((trial.ended_at for trial in trials if trial.ended_at is not None), default=None)
    counts = (
        num_trials,
        *(count[status] for status in ("finished", "stopped", "diverged", "failed")),
        num_trials - num_done - num_unreadable,
        num_unreadable,
        round(sum(trial.seconds for trial in trials) / 3600, 3),
    )
    return {
        "study": name,
        **dict(zip(_COUNTS, counts, strict=True)),
        "last activity": datetime.fromtimestamp(latest).astimezone().isoformat(" ", "seconds") if latest else "",
    }


def _size(record: StudyRecord) -> tuple[int, bool]:
    """How many trials the study has at its end, as far as can be told; and whether it stops trials."""
    try:
        study = study_of_text(record.definition, record.name)
    except StudyFileError:  # of another version, or with files and variables of another machine
        return len(record.trials), True
    return len(record.trials) + num_to_suggest(study, record.trials), study.early_stopping is not None
