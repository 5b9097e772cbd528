"""Does anything grow faster than it has to? What a trial costs in studies of more trials, a step with more classes.

    python -m benchmarks.growth [TRIALS ...]

By default studies of 10, 100 and 1,000 trials that train next to nothing, through `ccar run`, each into a store of its
own; 10,000 take ten minutes more. Classes: 10, 100, 1,000 and 8,142, on one CPU thread; here the least that a thing can
grow is in proportion to the number of classes, where it has a number for each of them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.loss_step import REWEIGHTING, long_tail
from benchmarks.orchestration import NOTHING, run, write_study
from benchmarks.report import NUM_EPOCHS
from ccar.losses import build_loss
from ccar.metrics.accuracy import Evaluation, evaluate_predictions
from ccar.models.build import build_model
from ccar.store.key import digest_of_parts, key_parts
from ccar.store.trial_store import TrialStore
from ccar.training.config import CrossEntropy, DataConfig, TrialConfig
from ccar.training.recipes import RECIPES
from ccar.training.result import EpochResult, TestResult

BY_DEFAULT = (10, 100, 1000)
CLASSES = (10, 100, 1000, 8142)
BATCH, EVALUATED = 128, 10_000
REPETITIONS = 7


def main() -> None:
    """Measure and print Markdown."""
    print("## Growth (`python -m benchmarks.growth`)\n")
    print("| trials | whole `ccar run`, s | between two ends, ms | `ccar plan` after it, s | files in the store |")
    print("|---|---|---|---|---|")
    for num_trials in map(int, sys.argv[1:] or BY_DEFAULT):
        with tempfile.TemporaryDirectory(prefix="ccar-bench-") as folder:
            more_trials(num_trials, Path(folder))
    print(
        f"\nMedian of {REPETITIONS}. Step: {BATCH} images of 32 pixels through small_cnn, CCAR over cross-entropy, "
        f"SGD. Evaluation: {EVALUATED:,} predictions to accuracies, per class too. Trial: {NUM_EPOCHS} epochs with "
        "their validation committed one by one, test results, end.\n"
    )
    print(
        "| classes | step, ms | of it the loss, ms | evaluation, ms | trial into the store, ms | its log and test, kB |"
    )
    print("|---|---|---|---|---|---|")
    torch.set_num_threads(1)
    for num_classes in CLASSES:
        more_classes(num_classes)


def more_trials(num_trials: int, folder: Path) -> None:
    """A study of so many trials, and a plan of it once they have finished."""
    study, store = write_study(folder, "nothing", NOTHING, num_trials), folder / "store"
    wall = run(study, store).wall
    ends = sorted(record.ended_at or 0.0 for record in TrialStore(store).all_records())
    assert len(ends) == num_trials
    # The first trials of all wait for imports.
    begin = min(len(ends) - 2, 4)
    between = (ends[-1] - ends[begin]) / (len(ends) - 1 - begin)
    command = [sys.executable, "-m", "ccar", "plan", str(study), "--store", str(store)]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    plan = time.perf_counter() - began
    files = sum(len(names) for _, _, names in os.walk(store))
    print(f"| {num_trials:,} | {wall:.1f} | {1e3 * between:.0f} | {plan:.1f} | {files:,} |")


def more_classes(num_classes: int) -> None:
    """One row: a step, its loss, the evaluation, the store."""
    counts, random = long_tail(num_classes), np.random.default_rng(0)
    loss = build_loss("cross_entropy", counts, reweighting=REWEIGHTING)
    model = build_model("small_cnn", "linear", num_classes, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    pixels, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(num_classes, (BATCH,))
    logits = torch.randn(BATCH, num_classes, requires_grad=True)
    predicted, true = random.integers(num_classes, size=(2, EVALUATED))
    true[:num_classes] = np.arange(num_classes)
    confidences = random.random(EVALUATED)

    def step() -> None:
        optimizer.zero_grad()
        loss(model(pixels), labels).backward()
        optimizer.step()

    def loss_alone() -> None:
        logits.grad = None
        loss(logits, labels).backward()

    def evaluate() -> Evaluation:
        return evaluate_predictions(predicted, true, confidences, 1.0, counts.tolist(), num_classes)

    evaluation = evaluate()
    with tempfile.TemporaryDirectory(prefix="ccar-bench-") as folder:
        store = TrialStore(Path(folder))
        seeds = iter(range(2 * REPETITIONS))

        def put() -> str:
            return put_trial(store, next(seeds), counts.tolist(), evaluation)

        stored = milliseconds(put)
        files = [path for path in Path(folder).rglob("*") if path.is_file() and path.name.endswith(".jsonl")]
        size = sum(path.stat().st_size for path in files) / len(list(store.keys())) / 1e3
    figures = " | ".join(f"{milliseconds(each):.2f}" for each in (step, loss_alone, evaluate))
    print(f"| {num_classes:,} | {figures} | {stored:.0f} | {size:,.0f} |")


def put_trial(store: TrialStore, seed: int, counts: list[int], evaluation: Evaluation) -> str:
    """A finished trial of that many classes, as training would have left it; returns its key."""
    config = TrialConfig(
        data=DataConfig(name="cifar100", imbalance_factor=100, validation_per_class=20),
        model="small_cnn",
        head="linear",
        recipe=RECIPES["digits_quick"],
        loss=CrossEntropy(),
        seed=seed,
    )
    parts = key_parts(config, "0" * 64)
    claim = store.claim(config, parts, class_counts=counts, worker={"device": "cpu", "threads": 1, "versions": {}})
    for number in range(1, NUM_EPOCHS + 1):
        epoch = EpochResult(
            epoch=number,
            train_loss=1.0,
            learning_rate=0.1,
            seconds=1.0,
            images_per_second=1.0,
            finished_at=time.time(),
            validation=evaluation,
        )
        claim.commit([epoch], b"state")
    claim.finish(TestResult(last_epoch=evaluation, best_epoch=evaluation, best_epoch_index=1), b"weights")
    return digest_of_parts(parts)


def milliseconds(work: Callable[[], object]) -> float:
    """Median of several calls after a first one."""
    work()
    seconds = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return 1e3 * statistics.median(seconds)


if __name__ == "__main__":
    main()
