"""What trials notice of a tracking server that goes away while they are trained: it is frozen, or killed.

    python -m benchmarks.outage

The same study of 40 trials, in turn beside a server that answers, one that is frozen after the first trials, and one
that is killed then. Compared is what each trial took for its epochs, by the store's records, with the same trial beside
the server that answered: a ratio above 1 is what the outage costs. At the end `ccar sync` delivers to a server that is
up, and MLflow has as many points as it should.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil

from benchmarks.dashboard import CALM
from ccar.store.trial_store import TrialStore
from ccar.tracking.outbox import sync
from ccar.tracking.run_content import run_content
from ccar.tracking.ui import serve

ROUNDS = 3
BEGUN = 4  # trials that have ended before the outage
TARGET = 1.01


def main() -> None:
    outages: dict[str, Callable[[psutil.Process], None] | None] = {
        "answers": None,
        "is frozen": psutil.Process.suspend,
        "is killed": psutil.Process.kill,
    }
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in outages}
    print("## A tracking server that goes away (`python -m benchmarks.outage`)\n")
    with tempfile.TemporaryDirectory(prefix="ccar-bench-") as folder:
        for round_ in range(ROUNDS):
            for name in [*outages][round_:] + [*outages][:round_]:  # each comes first, second and last once
                place = Path(folder) / f"{round_}-{name.replace(' ', '-')}"
                place.mkdir()
                taken[name].append(seconds_of_trials(place, outages[name]))
    print("| a server that | s of training, all 40 trials | a trial's time over that beside a server that answers |")
    print("|---|---|---|")
    for name, rounds in taken.items():
        totals = [sum(trials.values()) for trials in rounds]
        ratios = [
            trials[key] / calm[key] for trials, calm in zip(rounds, taken["answers"], strict=True) for key in trials
        ]
        spread = f"{statistics.median(totals):.1f} ({min(totals):.1f} to {max(totals):.1f}, n = {ROUNDS})"
        quartiles = statistics.quantiles(ratios)
        said = f"{quartiles[1]:.3f} ({quartiles[0]:.3f} to {quartiles[2]:.3f}, n = {len(ratios)})"
        print(f"| {name} | {spread} | {'' if outages[name] is None else f'{said}; target {TARGET}'} |")
    print("\nMedian (quartiles for the ratios). After each run MLflow had every point once the server was up again.")


def seconds_of_trials(place: Path, outage: Callable[[psutil.Process], None] | None) -> dict[str, float]:
    """Run the study and let the outage happen; what each trial took for its epochs, by key."""
    study, store = place / "calm.yaml", TrialStore(place / "store")
    study.write_text(CALM)
    database, artifacts = f"sqlite:///{place / 'mlflow.db'}", str(place / "artifacts")
    with serve(database, artifacts) as server:
        command = [sys.executable, "-m", "ccar", "run", str(study), "--store", str(store.root)]
        run = subprocess.Popen(
            [*command, "--tracking-uri", server.address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while sum(record.status == "finished" for record in store.all_records()) < BEGUN:
            assert run.poll() is None, "it ended before the outage"
            time.sleep(0.2)
        parent = psutil.Process(server._process.pid)
        family = [parent, *parent.children(recursive=True)]
        if outage is not None:
            for process in family:
                outage(process)
        assert run.wait(300) == 0
        for process in family:  # what is frozen does not hear that it shall end
            if process.is_running() and process.status() == psutil.STATUS_STOPPED:
                os.kill(process.pid, signal.SIGCONT)
    with serve(database, artifacts) as server:
        sync(store, server.address)
    with closing(sqlite3.connect(place / "mlflow.db")) as mlflow:
        (found,) = mlflow.execute("SELECT COUNT(*) FROM metrics").fetchone()
    assert found == num_points(store), (found, num_points(store))
    return {record.key: record.seconds for record in store.all_records()}


def num_points(store: TrialStore) -> int:
    """How many values MLflow should have."""
    (study,) = store.studies()
    content = (run_content(trial, store.read(trial.key), store.read_test(trial.key)) for trial in study.trials)
    return sum(len(each.points) for each in content)


if __name__ == "__main__":
    main()
