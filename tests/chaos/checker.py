"""What must hold after a storm: read from the store, from MLflow and from the report, apart from what ran."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import psutil

from ccar.store.trial_log import FINAL
from ccar.store.trial_store import TrialStore
from ccar.tracking.run_content import run_content
from tests.chaos.storm import Outcome
from tests.cli.test_run import without_hours
from tests.processes import alive_of, command_of

TABLES = ("cells.csv", "trials.csv", "report.md", "report.tex")
STUDY = "the study"
_ACTIVE_RUNS = f"""
    select coalesce(trial.value, '{STUDY}'), run.run_uuid from runs run
    join tags store on store.run_uuid = run.run_uuid and store.key = 'ccar.store'
    join tags study on study.run_uuid = run.run_uuid and study.key = 'ccar.study'
    left join tags trial on trial.run_uuid = run.run_uuid and trial.key = 'ccar.trial_key'
    where run.lifecycle_stage = 'active' and store.value = ? and study.value = ?"""
_POINTS = "select key, step, value, timestamp from metrics where run_uuid = ?"


def doubled_epochs(store: Path) -> int:
    """How many epochs are committed more than once, in the logs as they lie there.

    One of a trial that has ended for good repeats them in its last record, and has no commits any more.
    """
    doubled = 0
    for log in store.glob("trials/??/*/log"):
        records = [json.loads(file.read_text().splitlines()[0]) for file in sorted(log.glob("*.jsonl"))]
        ended = [record for record in records if record["type"] in FINAL]
        whole = ended or [record for record in records if record["type"] == "commit"]
        committed = Counter(epoch["epoch"] for record in whole for epoch in record["epochs"])
        doubled += sum(count - 1 for count in committed.values())
    return doubled


def results(store: Path, study: str) -> dict[str, object]:
    """All that must be the same bit for bit however often the study was hit: numbers, weights, tables."""
    trials = TrialStore(store)
    found: dict[str, object] = {}
    for planned in trials.study(study).trials:
        record = trials.read(planned.key)
        weights = trials.read_weights(planned.key)
        found[planned.key] = (
            record.status,
            [(epoch.epoch, epoch.train_loss, epoch.learning_rate, epoch.validation) for epoch in record.epochs],
            trials.read_test(planned.key),
            hashlib.sha256(weights or b"").hexdigest(),
        )
    for name in TABLES:
        found[name] = without_hours((store / "reports" / study / name).read_bytes())
    return found


def wrong_in_mlflow(store: Path, study: str, database: Path) -> list[str]:
    """What MLflow has not, has twice, or has otherwise than the store once all trials have ended; as sentences."""
    trials, wrong = TrialStore(store), list[str]()
    names = {planned.key: f"{planned.cell} seed {planned.seed}" for planned in trials.study(study).trials}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        runs = connection.execute(_ACTIVE_RUNS, (trials.id(), study)).fetchall()
        there, wanted = Counter(key for key, _ in runs), Counter([STUDY, *names])
        wrong += [f"{there[key]} runs of {names.get(key, key)}" for key in there | wanted if there[key] != wanted[key]]
        for planned in trials.study(study).trials:
            content = run_content(planned, trials.read(planned.key), trials.read_test(planned.key))
            expected = Counter((point.key, point.step, point.value, point.timestamp) for point in content.points)
            for run in (run for key, run in runs if key == planned.key):
                found = Counter(connection.execute(_POINTS, (run,)).fetchall())
                if found != expected:
                    wrong.append(f"{names[planned.key]}: {found - expected} and not {expected - found}")
    return wrong


def left_behind(folder: Path, outcome: Outcome) -> list[str]:
    """Processes that still work for the study, and files and sockets that only living ones need."""
    processes = [
        command[:200]
        for process in alive_of(psutil.process_iter())
        if str(folder) in (command := " ".join(command_of(process)))
    ]
    files = [
        path
        for path in (folder / "ccar-store").glob("[td]*/**/*")
        if path.name.startswith((".", "heartbeat-", "checkpoint-", "stacks")) or path.parent.name == "drivers"
    ]
    for trial in (folder / "ccar-store" / "trials").glob("*/*"):
        for kind in ("test", "weights"):  # the last record names one; another one is of a worker that died before it
            files += sorted(trial.glob(f"{kind}-*"))[1:]
    files += [path for pid in outcome.drivers for path in Path("/tmp").glob(f"ccar-scratch-{pid}-*")]
    files += [path for path in outcome.clusters if path.exists()]
    return [*outcome.survivors, *processes, *map(str, files)]


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of all do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
