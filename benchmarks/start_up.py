"""How long a user waits: for help, for a plan, for the first epoch of a run, and for the prompt after its last trial.

    python -m benchmarks.start_up [REPETITIONS]

Each figure is a whole command in a process of its own. The run is one of four trials of about one second, in a new
store: its first epoch waits for Ray, for the workers' imports and for the images. The floor for it is the import of
torch in a worker that Ray has started.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.orchestration import ONE_SECOND, STUDY
from ccar.store.trial_store import TrialStore

CCAR = Path(sys.executable).with_name("ccar")
FOUR_TRIALS = STUDY.replace("[0.25, 0.5, 0.75, 1.0]", "[0.5]")


def main() -> None:
    """Measure and print Markdown."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print("## Start-up (`python -m benchmarks.start_up`)\n")
    print("| what | s, median (least to most) | target |\n|---|---|---|")
    row(
        "`import torch`, in a bare Python",
        [seconds_of([sys.executable, "-c", "import torch"]) for _ in range(repetitions)],
    )
    row("`ccar --help`", [seconds_of([CCAR, "--help"]) for _ in range(repetitions)], "0.3")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = folder / "four-trials.yaml"
        study.write_text(FOUR_TRIALS.format(name="four-trials", seeds="0", **ONE_SECOND))
        plan = [CCAR, "plan", Path(__file__).parents[1] / "studies" / "digits_lt.yaml", "--store", folder / "none"]
        seconds_of(plan)  # decodes the images, once per machine
        row("`ccar plan studies/digits_lt.yaml`", [seconds_of(plan) for _ in range(repetitions)], "1.5")
        runs = [waits_of_a_run(study, folder / f"store-{number}") for number in range(repetitions)]
        row("`ccar run`, from the command to the first trial", [run[0] for run in runs])
        row("`ccar run`, from the command to the end of its first epoch", [run[1] for run in runs])
        row("`ccar run`, from the end of the last trial to the prompt", [run[2] for run in runs])


def waits_of_a_run(study: Path, store: Path) -> tuple[float, float, float]:
    """Seconds until the first trial is claimed, until its first epoch ends, and from the last trial's end on."""
    begun = time.time()
    seconds_of([CCAR, "run", study, "--store", store])
    ended = time.time()
    records = list(TrialStore(store).all_records())
    first = min(record.started_at or ended for record in records)
    first_epoch = min(record.epochs[0].finished_at for record in records)
    return first - begun, first_epoch - begun, ended - max(record.ended_at or 0.0 for record in records)


def seconds_of(command: list[object]) -> float:
    begun = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return time.perf_counter() - begun


def row(what: str, seconds: list[float], target: str = "") -> None:
    spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f}, n = {len(seconds)})"
    print(f"| {what} | {spread} | {target} |")


if __name__ == "__main__":
    main()
