"""What of a trial's time MLflow takes: the same study of one-second trials with the feeder and without it, in turns.

    python -m benchmarks.tracking_share [--pairs 5] [--trials 80]

Trials write nothing for MLflow themselves. The feeder reads the store beside them, at a low priority; so its whole cost
is that trials take longer and that the run ends later, and both are measured; its start, some seconds of the processor
to import MLflow, counts. Each run has a new store and all CPUs. Without means with a feeder that does nothing.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.orchestration import CPUS, ONE_SECOND, write_study
from ccar.store.trial_store import TrialStore

TARGET = 0.02  # of a trial's time
# It ends when its standard input does, as the feeder.
_IDLE = """\
import subprocess, sys
from ccar.cli import main
from ccar.tracking.feeder import Feeder
Feeder.start = classmethod(
    lambda cls, store, tracking_uri, study_name, report_dir=None: cls(
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, bufsize=0, process_group=0), store, tracking_uri, study_name
    )
)
main()
"""
_COMMANDS = {"with": ["-m", "ccar"], "without": ["-c", _IDLE]}


def main() -> None:
    """Measure and print Markdown."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--trials", type=int, default=80)
    given = arguments.parse_args()
    trials: dict[str, list[float]] = {"with": [], "without": []}
    walls: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as folder:
        study = write_study(Path(folder), "one-second", ONE_SECOND, given.trials)
        for number in range(given.pairs):
            for kind in ("with", "without") if number % 2 == 0 else ("without", "with"):
                seconds, wall = run(study, Path(folder) / f"{kind}-{number}", kind)
                trials[kind].append(seconds)
                walls[kind].append(wall / given.trials)
    print("## MLflow beside training (`python -m benchmarks.tracking_share`)\n")
    print(
        f"{given.pairs} pairs of runs of {given.trials} trials on {CPUS} CPUs, MLflow in a new SQLite file; median "
        "(least to most) over runs.\n"
    )
    print("| seconds | with MLflow | without | with / without, median of pairs (least to most) | target |")
    print("|---|---|---|---|---|")
    print(line("of a trial, mean of a run", trials, f"{1 + TARGET:.2f}"))
    print(line("of the whole command, by trial", walls, ""))


def run(study: Path, store: Path, kind: str) -> tuple[float, float]:
    """One run: mean seconds of its trials, and of the whole command."""
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, *_COMMANDS[kind], "run", str(study), "--store", str(store)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall = time.monotonic() - begun
    records = list(TrialStore(store).all_records())
    assert all(record.status == "finished" for record in records)
    return statistics.mean(record.seconds for record in records), wall


def line(what: str, seconds: dict[str, list[float]], target: str) -> str:
    ratios = [one / other for one, other in zip(seconds["with"], seconds["without"], strict=True)]
    cells = [spread(seconds["with"], 3), spread(seconds["without"], 3), spread(ratios, 3), target]
    return f"| {' | '.join([what, *cells])} |"


def spread(values: list[float], digits: int) -> str:
    median, least, most = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


if __name__ == "__main__":
    main()
