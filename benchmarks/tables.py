"""What tables are made of, read from ccar's store and from MLflow: the same trials, all finished.

    python -m benchmarks.tables [TRIALS ...]

By default 200 and 2,000 trials of 20 epochs; 20,000 take ten times as long, most of it for MLflow to take them. The
store is written first, as training would have left it, and sent to MLflow in an SQLite file; neither is counted.
`mlflow.search_runs` gives the last value of every metric, all params and tags of a run; ccar's frames also have
calibration and the best epoch, and every record is verified when it is read. All in this process, imports not counted.
The floor is reading the store's records and test results as bytes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mlflow

from benchmarks.report import finished_study
from ccar.cli.places import Places
from ccar.cli.study_view import StudyView
from ccar.tracking.outbox import sync
from dashboards.stored_study import StoredStudy

BY_DEFAULT = (200, 2000)
REPETITIONS = 5


def main() -> None:
    """Measure and print Markdown."""
    print("## Tables (`python -m benchmarks.tables`)\n")
    print("Milliseconds: median (least to most). Ratio of the medians.\n")
    print("| trials | frames | ms | rows x columns | times search_runs |\n|---|---|---|---|---|")
    for num_trials in map(int, sys.argv[1:] or BY_DEFAULT):
        with tempfile.TemporaryDirectory(prefix="ccar-bench-") as folder:
            measure(num_trials, Path(folder))


def measure(num_trials: int, folder: Path) -> None:
    """One row for each way to the frames."""
    file, trials = finished_study(num_trials, folder)
    places = Places(
        store=Places.of(folder / "store", None).store,
        cache_dir=folder / "cache",
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
    )
    view = StudyView.open(file, places)
    view.remember(trials)
    assert sync(places.store, places.tracking_uri).trials == num_trials
    mlflow.set_tracking_uri(places.tracking_uri)
    record = places.store.study(view.study.name)
    assert record is not None
    keys = set(places.store.keys())

    def search_runs() -> tuple[int, int]:
        runs = mlflow.search_runs(experiment_names=[record.name], max_results=10 * num_trials)
        assert len(runs) > num_trials  # and the study's own run
        return runs.shape

    def of_the_report() -> tuple[int, int]:
        content = view.report_input(trials)
        frames = (content.validation, content.tests, content.reliability, content.costs)
        return len(content.validation), sum(frame.shape[1] for frame in frames)

    def of_the_dashboard() -> tuple[int, int]:
        study = StoredStudy(places.store, record)
        study.refresh(keys, 1e9)
        assert study.state.is_whole
        return len(study.state.validation), study.state.validation.shape[1] + study.state.costs.shape[1]

    again = StoredStudy(places.store, record)
    again.refresh(keys, 1e9)

    def nothing_new() -> tuple[int, int]:
        assert not again.refresh(keys, 1e9)
        return len(again.state.validation), again.state.validation.shape[1] + again.state.costs.shape[1]

    def bytes_alone() -> tuple[int, int]:
        files = [*(folder / "store" / "trials").rglob("*.jsonl")]
        return len(files), sum(len(file.read_bytes()) for file in files) // len(files)

    yardstick, shape = timed(search_runs)
    row(num_trials, "mlflow.search_runs", yardstick, shape, yardstick)
    for name, read in (
        ("ccar, of the report", of_the_report),
        ("ccar, of the dashboard, first time", of_the_dashboard),
        ("ccar, of the dashboard, nothing new", nothing_new),
    ):
        seconds, shape = timed(read)
        row(num_trials, name, seconds, shape, yardstick)
    seconds, shape = timed(bytes_alone)
    row(num_trials, "floor: files x bytes, read", seconds, shape, yardstick)


def timed(read: Callable[[], tuple[int, int]]) -> tuple[list[float], tuple[int, int]]:
    """Seconds of several calls after a first one, and the shape that it gives."""
    shape, seconds = read(), []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        read()
        seconds.append(time.perf_counter() - began)
    return seconds, shape


def row(num_trials: int, name: str, seconds: list[float], shape: tuple[int, int], yardstick: list[float]) -> None:
    median, least, most = (1e3 * each(seconds) for each in (statistics.median, min, max))
    times = f"{median:.1f} ({least:.1f} to {most:.1f}, n = {len(seconds)})"
    ratio = statistics.median(seconds) / statistics.median(yardstick)
    print(f"| {num_trials:,} | {name} | {times} | {shape[0]:,} x {shape[1]} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
