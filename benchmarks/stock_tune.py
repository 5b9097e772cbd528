"""Ray Tune as it comes, beside ccar: the same trials, one process each, logged by Tune's own MLflow callback.

The yardstick is what one writes with Ray's documentation at hand: a function that trains and reports every epoch,
`MLflowLoggerCallback` into an SQLite file, everything else left as it is. Both sides train the same
configurations with the same code of `ccar.training`, so what differs is what is around it. The yardstick keeps no
checkpoint, writes no report, and trains everything again when it is started again.

    python -m benchmarks.stock_tune [--trials 200] [--empty-trials 200]

The defaults are small, since it takes some seconds a trial; what ccar needs once (a report among it) weighs more in
few trials than in many.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.orchestration import CPUS, NOTHING, ONE_SECOND, run, write_study
from ccar.cli.places import Places
from ccar.store.trial_store import TrialStore
from ccar.study.definition import load_study
from ccar.study.expansion import cells_of, fingerprints_of, load_data, plan_cells
from ccar.training.config import TrialConfig

CACHE = Places.of(Path("unused"), None).cache_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One side's figures."""

    wall: float  # seconds, the whole command
    training: float  # seconds in epochs, all trials together
    ends: tuple[float, ...]  # Unix time at which each trial ended, sorted
    memory: float  # bytes, the largest sum over all processes; shared pages count once
    files: int
    written: float  # bytes in these files

    @property
    def per_trial(self) -> float:
        """Seconds from one end to the next, start-up left out."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


def main() -> None:
    """Measure and print Markdown, or, with --stock, be the yardstick."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--trials", type=int, default=20)
    arguments.add_argument("--empty-trials", type=int, default=20)
    arguments.add_argument("--stock", nargs=2, type=Path, metavar=("STUDY", "FOLDER"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.stock:
        stock(*given.stock)
        return
    print("## Ray Tune as it comes (`python -m benchmarks.stock_tune`)\n")
    print(f"Digits, small CNN, {CPUS} CPUs. Stock: one process per trial, MLflowLoggerCallback.\n")
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), "one-second", ONE_SECOND, given.trials)
        compare(Path(folder), "nothing", NOTHING, given.empty_trials)


def compare(folder: Path, name: str, shape: dict[str, Any], num_trials: int) -> None:
    """Both sides on one study, and a table of them."""
    study = write_study(folder, name, shape, num_trials)
    load_data(load_study(study), CACHE)  # decoded before either side starts
    ours, theirs = measure_ccar(study, folder / f"{name}-ccar"), measure_stock(study, folder / f"{name}-stock")
    num_trials = len(ours.ends)
    assert len(theirs.ends) == num_trials
    seconds = ours.training / num_trials
    print(f"| {num_trials} trials of {seconds:.2f} s | Ray Tune as it comes | ccar | ratio |\n|---|---|---|---|")
    row("whole command, s", theirs.wall, ours.wall)
    row("busy share of the CPUs", theirs.training / theirs.wall / CPUS, ours.training / ours.wall / CPUS)
    row("a trial between the first and the last end, ms", 1e3 * theirs.per_trial, 1e3 * ours.per_trial)
    row("memory of all processes at most, MB", theirs.memory / 1e6, ours.memory / 1e6)
    row("files written, MLflow's included", theirs.files, ours.files)
    row("MB in them", theirs.written / 1e6, ours.written / 1e6)
    more = 2000 * theirs.per_trial / 60
    print(f"\nAt that pace 2,000 of them take Ray Tune as it comes {more:.0f} min, so they were not run.\n")


def row(what: str, theirs: float, ours: float) -> None:
    print(f"| {what} | {theirs:.3g} | {ours:.3g} | {theirs / ours:.2f} |")


def measure_ccar(study: Path, folder: Path) -> Measured:
    with memory_of_all_processes() as samples:
        wall = run(study, folder).wall
    records = list(TrialStore(folder).all_records())
    assert all(record.status == "finished" for record in records)
    files, written = written_to(folder)
    return Measured(
        wall=wall,
        training=sum(record.seconds for record in records),
        ends=tuple(sorted(record.ended_at or 0.0 for record in records)),
        memory=max(samples),
        files=files,
        written=written,
    )


def measure_stock(study: Path, folder: Path) -> Measured:
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.stock_tune", "--stock", str(study), str(folder)]
    begun = time.monotonic()
    with memory_of_all_processes() as samples:
        # A Ray of its own, like ours: left alone, Tune would join whatever cluster was last started on this machine.
        done = subprocess.run(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "RAY_ADDRESS": "local"},
        )
    wall = time.monotonic() - begun
    if done.returncode:
        sys.exit(done.stderr)
    results = json.loads((folder / "results.json").read_text())
    files, written = written_to(folder)
    return Measured(
        wall=wall,
        training=sum(result["training"] for result in results),
        ends=tuple(sorted(result["ended_at"] for result in results)),
        memory=max(samples),
        files=files - 1,
        written=written,
    )


def written_to(folder: Path) -> tuple[int, float]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), float(sum(sizes))


@contextmanager
def memory_of_all_processes() -> Iterator[list[float]]:
    """Once a second, the memory of all processes below this one in bytes; a page that several share counts once."""
    samples: list[float] = [0.0]
    over = threading.Event()

    def look() -> None:
        while not over.wait(1.0):
            total = 0.0
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    total += process.memory_full_info().pss
            samples.append(total)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def stock(study_file: Path, folder: Path) -> None:
    """The yardstick: all trials of the study through Tune, as its documentation shows it."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    study = load_study(study_file)
    trials = plan_cells(cells_of(study), study.seeds, fingerprints_of(study, load_data(study, CACHE)))
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={"trial": tune.grid_search([trial.config.model_dump(mode="json") for trial in trials])},
        run_config=tune.RunConfig(
            name="study",
            storage_path=str(folder / "results"),
            callbacks=[MLflowLoggerCallback(f"sqlite:///{folder}/mlflow.db", experiment_name="study")],
        ),
    )
    results = tuner.fit()
    ended = [
        {"training": result.metrics["training"], "ended_at": result.metrics["ended_at"]}
        for result in results
        if result.error is None
    ]
    (folder / "results.json").write_text(json.dumps(ended))


def train(config: dict[str, Any]) -> None:
    """One trial, in the process that Tune starts for it."""
    import torch
    from ray import tune

    from ccar.data.long_tail import split_long_tailed
    from ccar.data.sources import load_source
    from ccar.training.loop import Training

    trial = TrialConfig.model_validate(config["trial"])
    torch.set_num_threads(1)
    source = load_source(trial.data, CACHE)
    split = split_long_tailed(source.train.labels, trial.data, trial.seed)
    training = Training(trial, source, split, device=torch.device("cpu"))
    seconds = 0.0
    for epoch in training.epochs():
        seconds += epoch.seconds
        validation = epoch.validation
        metrics = {"epoch": epoch.epoch, "train_loss": epoch.train_loss, "training": seconds, "ended_at": time.time()}
        if validation is not None:
            metrics |= {"accuracy": validation.accuracy, "balanced_accuracy": validation.balanced_accuracy}
        if epoch.epoch == training.num_epochs:
            metrics["test_accuracy"] = training.test().last_epoch.accuracy
            metrics["ended_at"] = time.time()
        tune.report(metrics)


if __name__ == "__main__":
    main()
