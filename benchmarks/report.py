"""How long `ccar report` takes over 200, 2,000 and 20,000 finished trials, imports included, and how much memory.

    python -m benchmarks.report [TRIALS ...]

The trials are written to a real store first, as training would have left them, and are not counted. Each timing
is the whole command in a process of its own: read the study, its data and the store, make the frames, write tables
and figures. `unchanged` is the same command again, which finds its report intact. The floor is a process that imports
what the command does.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from ccar.metrics.accuracy import Evaluation
from ccar.metrics.calibration import Reliability
from ccar.store.key import key_parts
from ccar.store.trial_store import TrialStore
from ccar.study.definition import load_study
from ccar.study.expansion import PlannedTrial, load_data, plan_trials
from ccar.training.result import EpochResult, TestResult

NUM_EPOCHS = 20
NUM_CLASSES = 10
NUM_BINS = 15
REPETITIONS = 5
IMPORTS = "import ccar.cli.app, ccar.cli.study_view, ccar.reports.write, matplotlib.figure"
STUDY = """\
study: bench-{trials}
question: How long does a report take?
data: {{name: digits, imbalance_factors: [10, 50], validation_per_class: 20}}
model: small_cnn
recipe: digits_quick
methods:
  bases: [cross_entropy, focal, ldam, logit_adjustment, balanced_softmax]
  reweighting: {{omega: {omegas}, frequency: {frequencies}}}
seeds: [0, 1, 2, 3, 4]
baseline: cross_entropy
"""
GRIDS = {  # trials: 5 base losses x (plain + omegas x frequencies) x 2 imbalance factors x 5 seeds
    200: ([0.25, 0.5, 0.75], ["fraction"]),
    2000: ([round(0.05 + 0.075 * step, 3) for step in range(13)], ["fraction", "max_normalised", "none"]),
    20_000: ([round(0.007 * step, 3) for step in range(1, 134)], ["fraction", "max_normalised", "none"]),
}


def evaluation(share: float) -> Evaluation:
    return Evaluation(
        num_images=899,
        loss=1.0 - share,
        accuracy=share,
        balanced_accuracy=share,
        many=share,
        medium=share - 0.1,
        few=share - 0.2,
        per_class=(share,) * NUM_CLASSES,
        ece=0.05,
        reliability=Reliability(counts=(60,) * NUM_BINS, confidence=(share,) * NUM_BINS, accuracy=(share,) * NUM_BINS),
    )


def put_finished_trial(store: TrialStore, trial: PlannedTrial, level: float) -> None:
    """One trial with made-up numbers."""
    parts = key_parts(trial.config, trial.data_fingerprint)
    worker = {"device": "cpu", "threads": 1, "versions": {}}
    claim = store.claim(trial.config, parts, class_counts=[10] * NUM_CLASSES, worker=worker)
    epochs = [
        EpochResult(
            epoch=number,
            train_loss=1 / number,
            learning_rate=0.1,
            seconds=0.05,
            images_per_second=1234.5,
            finished_at=time.time(),
            validation=evaluation(level * number / NUM_EPOCHS),
        )
        for number in range(1, NUM_EPOCHS + 1)
    ]
    claim.commit(epochs, b"state")
    last = evaluation(level)
    claim.finish(TestResult(last_epoch=last, best_epoch=last, best_epoch_index=NUM_EPOCHS), b"weights")


def finished_study(num_trials: int, folder: Path) -> tuple[Path, list[PlannedTrial]]:
    """A study file in `folder` and its trials, all finished in `folder`/store; decoded images in `folder`/cache."""
    omegas, frequencies = GRIDS[num_trials]
    file = folder / f"bench-{num_trials}.yaml"
    file.write_text(STUDY.format(trials=num_trials, omegas=omegas, frequencies=frequencies), encoding="utf-8")
    study = load_study(file)
    trials = plan_trials(study, load_data(study, folder / "cache"))
    assert len(trials) == num_trials
    store, levels = TrialStore(folder / "store"), np.random.default_rng(0).normal(0.7, 0.01, num_trials)
    with ThreadPoolExecutor(8) as pool:  # they wait for the disk
        list(pool.map(partial(put_finished_trial, store), trials, levels.tolist()))
    return file, list(trials)


def measure(num_trials: int, folder: Path) -> None:
    """Write the store, then time the command on it: first report, and the same again."""
    file, _ = finished_study(num_trials, folder)
    first: list[float] = []
    again: list[float] = []
    memory: list[float] = []
    for repetition in range(REPETITIONS if num_trials <= 2000 else 3):
        out = folder / f"report-{num_trials}-{repetition}"
        for seconds in (first, again):
            taken, gigabytes = run_report(file, folder, out)
            seconds.append(taken)
            memory.append(gigabytes)
    times = f"{spread(first)} s | {spread(again)} s"
    print(f"| ccar report, {num_trials:,} finished trials | {times} | {max(memory):.2f} GB |")


def run_report(file: Path, folder: Path, out: Path) -> tuple[float, float]:
    """Seconds, and gigabytes of memory at most."""
    command = [sys.executable, "-m", "ccar", "report", str(file), "--out", str(out), "--store", str(folder / "store")]
    environment = {**os.environ, "CCAR_CACHE": str(folder / "cache")}
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    return time.perf_counter() - started, usage.ru_maxrss / 1e6


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}, n = {len(values)})"


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or list(GRIDS)
    print("## Reports (`python -m benchmarks.report`)\n")
    print(
        "Whole command, imports included: median (least to most). Targets: 10 s over 2,000 trials, 60 s and 2 GB over"
    )
    print("20,000.\n")
    print("| command | first report | nothing changed since | memory at most |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="ccar-bench-") as folder:
        for num_trials in sizes:
            own = Path(folder) / str(num_trials)  # the studies share trials, so each has a store of its own
            own.mkdir()
            measure(num_trials, own)
    seconds = []
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", IMPORTS], check=True)
        seconds.append(time.perf_counter() - started)
    print(f"| floor: the imports alone | {spread(seconds)} s | | |")


if __name__ == "__main__":
    main()
