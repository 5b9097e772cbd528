"""What MLflow costs: CPU and wall time per trial of 20 epochs, sent into a new SQLite file.

    python -m benchmarks.tracking [TRIALS]

The trials are written to a real store first and are not counted. Delivery runs in a process of its own (the
feeder), so a trial waits for none of this; the figures are what that process takes from the machine.
"""

from __future__ import annotations

import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from ccar.metrics.accuracy import Evaluation
from ccar.store.key import digest_of_parts, key_parts
from ccar.store.records import StudyRecord, StudyTrial
from ccar.store.trial_store import TrialStore
from ccar.tracking.address import default_tracking_uri
from ccar.tracking.feeder import Feeder
from ccar.tracking.outbox import Outbox, sync
from ccar.tracking.run_content import run_content
from ccar.training.config import CrossEntropy, DataConfig, TrialConfig
from ccar.training.recipe import Recipe, StepSchedule
from ccar.training.result import EpochResult, TestResult

NUM_EPOCHS = 20
NUM_CLASSES = 100
TRIAL_SECONDS = 1.0
TARGET = 0.02  # of a trial's time
REPETITIONS = 3


def evaluation(share: float) -> Evaluation:
    return Evaluation(
        num_images=1000,
        loss=1.0 - share,
        accuracy=share,
        balanced_accuracy=share / 2,
        many=share,
        medium=share / 3,
        few=share / 4,
        per_class=(share,) * NUM_CLASSES,
    )


def epoch(number: int, started_at: float) -> EpochResult:
    seconds = TRIAL_SECONDS / NUM_EPOCHS
    return EpochResult(
        epoch=number,
        train_loss=1 / number,
        learning_rate=0.1,
        seconds=seconds,
        images_per_second=1234.5,
        finished_at=started_at + number * seconds,
        validation=evaluation(number / NUM_EPOCHS),
    )


def put_finished_study(store: TrialStore, name: str, num_trials: int) -> StudyRecord:
    """A study of finished trials, as training would have left them."""
    trials = []
    for seed in range(num_trials):
        config = TrialConfig(
            data=DataConfig(name="digits", imbalance_factor=100.0, validation_per_class=5),
            model="small_cnn",
            head="linear",
            recipe=Recipe(
                name="bench",
                epochs=NUM_EPOCHS,
                batch_size=128,
                learning_rate=0.1,
                schedule=StepSchedule(milestones=(10,)),
                augmentation=("crop", "flip"),
            ),
            loss=CrossEntropy(),
            seed=seed,
        )
        parts = key_parts(config, "0" * 64)
        claim = store.claim(
            config, parts, class_counts=[1] * NUM_CLASSES, worker={"device": "cpu", "threads": 1, "versions": {}}
        )
        started_at = time.time()
        claim.commit([epoch(number, started_at) for number in range(1, NUM_EPOCHS + 1)], b"state")
        last = evaluation(0.5)
        claim.finish(TestResult(last_epoch=last, best_epoch=last, best_epoch_index=NUM_EPOCHS), b"weights")
        trials.append(
            StudyTrial(cell="if100/cross_entropy", method="cross_entropy", seed=seed, key=digest_of_parts(parts))
        )
    study = StudyRecord(name=name, definition="name: bench\n", trials=tuple(trials), submitted_at=time.time())
    store.put_study(study)
    return study


def per_trial_in_this_process(store: TrialStore, studies: list[StudyRecord]) -> None:
    """CPU and wall time of delivery alone; the first study pays imports and tables, and is left out."""
    outbox = Outbox(store, default_tracking_uri(store.root))
    outbox.deliver(studies[0])
    cpu, wall = [], []
    for study in studies[1:]:
        cpu_before, wall_before = time.process_time(), time.perf_counter()
        delivery = outbox.deliver(study)
        cpu.append(1e3 * (time.process_time() - cpu_before) / delivery.trials)
        wall.append(1e3 * (time.perf_counter() - wall_before) / delivery.trials)
    points = delivery.points // delivery.trials
    print(f"- delivery of a trial ({points} points): {spread(cpu)} ms CPU, {spread(wall)} ms wall")
    print(f"- floor: {points} rows into a table of SQLite's by itself: {rows_into_sqlite(points):.2f} ms CPU")
    alone = by_mlflow_alone(store, studies[0])
    print(f"- floor: MLflow's client by itself, told the same in three calls: {alone:.1f} ms CPU")
    share = statistics.median(cpu) / (10 * TRIAL_SECONDS)
    enough = statistics.median(cpu) / 1e3 / TARGET
    print(
        f"- share of a {TRIAL_SECONDS:.0f} s trial, if delivery took a training core: {share:.1f} %; "
        f"{100 * TARGET:.0f} % of one of {enough:.1f} s"
    )
    for what, trust_cursor in (("by the notes", True), ("by asking the server", False)):
        started = time.perf_counter()
        report = sync(store, outbox.tracking_uri, trust_cursor=trust_cursor)
        assert report.points == 0
        print(f"- nothing new in {len(studies)} studies, {what}: {1e3 * (time.perf_counter() - started):.0f} ms")


def by_mlflow_alone(store: TrialStore, study: StudyRecord) -> float:
    """Milliseconds of the processor to create a run, log what ccar logs as one batch, and end it; median."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient(f"sqlite:///{store.root / 'alone.db'}")
    experiment = client.create_experiment("alone")
    spent = []
    for trial in study.trials:
        content = run_content(trial, store.read(trial.key), store.read_test(trial.key))
        before = time.process_time()
        run = client.create_run(experiment, content.start_time, dict(content.tags)).info.run_id
        client.log_batch(
            run,
            metrics=[Metric(*point) for point in content.points],
            params=[Param(*pair) for pair in content.params.items()],
            tags=[RunTag(*pair) for pair in content.tags.items()],
        )
        client.set_terminated(run, content.status, content.end_time)
        spent.append(1e3 * (time.process_time() - before))
    return statistics.median(spent)


def rows_into_sqlite(count: int) -> float:
    """Milliseconds of the processor for so many rows like a metric's, in one transaction; median."""
    row = ("val.balanced_accuracy", 0.5, 1_700_000_000_000, "0" * 32, 1, False)
    spent = []
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(f"{folder}/metrics.db")) as database:
        database.execute(
            "CREATE TABLE metrics (key, value, timestamp, run, step, is_nan, PRIMARY KEY (key, step, run))"
        )
        for number in range(50):
            rows = [(f"{row[0]}{step}", *row[1:3], f"{row[3]}{number}", step, False) for step in range(count)]
            before = time.process_time()
            with database:
                database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)
            spent.append(1e3 * (time.process_time() - before))
    return statistics.median(spent)


def in_the_feeder(store: TrialStore, study: StudyRecord) -> None:
    """The same work as a run does it: what the driver's own process pays, and the whole of the child."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    own, wall = time.process_time(), time.perf_counter()
    feeder = Feeder.start(store, f"sqlite:///{store.root / 'other.db'}", study.name)
    started = time.perf_counter() - wall
    left = feeder.finish(300)
    own, wall = time.process_time() - own, time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"- feeder, {len(study.trials)} trials: {cpu:.1f} s CPU in all (imports and tables included), "
        f"{wall:.1f} s wall, {left} left; in the driver {1e3 * own:.0f} ms CPU, start {1e3 * started:.0f} ms"
    )


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f}, n = {len(values)})"


def main() -> None:
    num_trials = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print("## Tracking (`python -m benchmarks.tracking`)\n")
    print(f"{num_trials} trials x {NUM_EPOCHS} epochs into a new SQLite file; target: 2 % of a trial's time.\n")
    with tempfile.TemporaryDirectory() as folder:
        studies = []
        # A store of its own per repetition would measure the tables too; other seeds would be other trials.
        store = TrialStore(Path(folder))
        first = put_finished_study(store, "warm-up", num_trials)
        studies.append(first)
        for number in range(REPETITIONS):
            study = StudyRecord(
                name=f"repetition-{number}",
                definition=first.definition,
                trials=first.trials,
                submitted_at=first.submitted_at,
            )
            store.put_study(study)
            studies.append(study)
        per_trial_in_this_process(store, studies)
        in_the_feeder(store, first)


if __name__ == "__main__":
    main()
