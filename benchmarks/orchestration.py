"""What orchestration costs: real studies on digits through `ccar run`, as a user would start them.

Three figures, on all CPUs of this machine:

- 200 trials of about one second: the share of the CPUs' time that was training (floor: start-up of Ray, of the
  workers and of the report are not training, so 1.0 cannot be reached). Whatever takes the CPU from a trial makes it
  take longer, and would count as training; so some of the trials also run in bare processes, one per CPU, with
  nothing beside them, and the share is given by their seconds too.
- the same study again: nothing to train.
- 2,000 trials of one epoch: what a trial costs that trains next to nothing, first and last ones apart, and how
  much the driver's memory grows. Their floor is the processor time that all processes need, over the CPUs.

    python -m benchmarks.orchestration [--trials 200] [--empty-trials 2000]
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ccar.cli.places import Places
from ccar.machine import num_cpus
from ccar.store.trial_store import TrialStore
from ccar.study.definition import load_study
from ccar.study.expansion import cells_of, fingerprints_of, load_data, plan_cells

STUDY = """\
study: {name}
question: What does orchestration cost?
data: {{name: digits, imbalance_factors: [{factor}], validation_per_class: {validation}}}
model: small_cnn
recipe: {recipe}
methods:
  bases: [cross_entropy, logit_adjustment]
  reweighting: {{omega: [0.25, 0.5, 0.75, 1.0]}}
seeds: [{seeds}]
baseline: cross_entropy
"""
METHODS = 10
BARE_TRIALS = 10  # per CPU, and one more to warm up
CPUS = num_cpus()
ONE_SECOND = {"recipe": "{name: digits_quick, epochs: 30}", "factor": 10, "validation": 20}
NOTHING = {
    "recipe": "{name: digits_quick, epochs: 1, batch_size: 512, schedule: {name: cosine}}",
    "factor": 100,
    "validation": 1,
}


def main() -> None:
    """Measure and print Markdown."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--trials", type=int, default=200)
    arguments.add_argument("--empty-trials", type=int, default=2000)
    arguments.add_argument("--bare", nargs=3, metavar=("STUDY", "STORE", "PART"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.bare:
        train_bare(*given.bare)
        return
    with tempfile.TemporaryDirectory() as folder:
        print("## Orchestration (`python -m benchmarks.orchestration`)\n")
        print("| figure | measured | target |\n|---|---|---|")
        one_second_trials(Path(folder), given.trials)
        empty_trials(Path(folder), given.empty_trials)


@dataclass(slots=True)
class Run:
    """What was seen of a `ccar run` from outside, twice a second."""

    begun: float  # Unix time
    wall: float = 0.0  # seconds of the whole command
    memory: list[tuple[float, int]] = field(default_factory=list)  # of the driver: Unix time, bytes
    processor: dict[str, dict[int, float]] = field(default_factory=dict)  # seconds by what it is and process id

    def look(self, driver: psutil.Process) -> None:
        self.memory.append((time.time(), driver.memory_info().rss))
        for process in (driver, *driver.children(recursive=True)):
            try:
                line, times = " ".join(process.cmdline()), process.cpu_times()
            except psutil.Error:  # it has ended
                continue
            if not line:  # as of a process that is ending; what it used was noted before
                continue
            kind = "driver" if process == driver else "feeder" if "ccar.tracking.feeder" in line else "Ray"
            kind = "workers" if line.startswith("ray::") and "Agent" not in line else kind
            self.processor.setdefault(kind, {})[process.pid] = times.user + times.system


def one_second_trials(folder: Path, num_trials: int) -> None:
    """Busy share of a study of one-second trials, and what running it again takes."""
    study = write_study(folder, "one-second", ONE_SECOND, num_trials)
    seen = run(study, folder / "store-1")
    wall = seen.wall
    records = list(TrialStore(folder / "store-1").all_records())
    assert all(record.status == "finished" for record in records)
    seconds = sorted(record.seconds for record in records)
    busy = sum(seconds) / (wall * CPUS)
    spread = f"{seconds[len(seconds) // 10]:.2f} - {seconds[-len(seconds) // 10]:.2f}"
    name = f"{len(records)} trials of {seconds[len(seconds) // 2]:.2f} s (p10 - p90 {spread}) on {CPUS} CPUs"
    print(f"| {name}: busy share of {wall:.1f} s wall | {busy:.2f} | at least 0.85 |")
    print(f"| the same, from the first trial's start to the last one's end | {steady_busy_share(records):.2f} | |")
    before = min(record.started_at for record in records) - seen.begun
    after = seen.begun + wall - max(record.ended_at for record in records)
    print(f"| what is missing: before the first start / after the last end | {before:.1f} / {after:.1f} s | |")
    bare = seconds_in_bare_processes(study, folder / "bare")
    in_the_run = {record.key: record.seconds for record in records}
    ratios = sorted(in_the_run[key] / alone for key, alone in bare.items())
    slower = math.fsum(in_the_run[key] for key in bare) / math.fsum(bare.values())
    print(
        f"| a trial's seconds against those in a bare process, {len(bare)} trials (p10 - p90 "
        f"{ratios[len(ratios) // 10]:.2f} - {ratios[-len(ratios) // 10]:.2f}) | {slower:.2f} | |"
    )
    print(f"| busy share by the seconds in bare processes | {busy / slower:.2f} | |")
    walls = sorted(run(study, folder / "store-1").wall for _ in range(3))
    print(f"| the finished study again, whole command, median of 3 (max {walls[-1]:.1f} s) | {walls[1]:.1f} s | 6 s |")


def steady_busy_share(records: list) -> float:
    """Busy share without the start of Ray and the end of the run."""
    wall = max(record.ended_at for record in records) - min(record.started_at for record in records)
    return sum(record.seconds for record in records) / (wall * CPUS)


def seconds_in_bare_processes(study: Path, store: Path) -> dict[str, float]:
    """Pure training seconds of some trials by key, in one process per CPU without Ray, MLflow or a driver."""
    command = [sys.executable, "-m", "benchmarks.orchestration", "--bare", str(study), str(store)]
    for process in [subprocess.Popen([*command, str(part)], stdout=subprocess.PIPE) for part in range(CPUS)]:
        process.communicate()
        assert process.returncode == 0
    seconds: dict[str, float] = {}
    for pid in {record.worker["pid"] for record in TrialStore(store).all_records()}:
        own = [record for record in TrialStore(store).all_records() if record.worker["pid"] == pid]
        warm = sorted(own, key=lambda record: record.started_at)[1:]
        seconds |= {record.key: record.seconds for record in warm}
    return seconds


def train_bare(study_file: str, store: str, part: str) -> None:
    """One of the bare processes: every CPUS-th trial from `part` on, until there are enough."""
    import torch

    from ccar.cluster.trial_worker import TrialWorker

    study, places = load_study(Path(study_file)), Places.of(Path(store), None)
    fingerprints = fingerprints_of(study, load_data(study, places.cache_dir))
    worker = TrialWorker(places.store, places.cache_dir, device=torch.device("cpu"), threads=1)
    for trial in plan_cells(cells_of(study), study.seeds, fingerprints)[int(part) :: CPUS][: BARE_TRIALS + 1]:
        *_, end = worker.run(trial.config, trial.key)
        assert end.status == "finished", end.error


def empty_trials(folder: Path, num_trials: int) -> None:
    """Cost of a trial that trains next to nothing, its growth, and the driver's memory."""
    study = write_study(folder, "nothing", NOTHING, num_trials)
    seen = run(study, folder / "store-2")
    records = list(TrialStore(folder / "store-2").all_records())
    ends = sorted(record.ended_at for record in records)
    part = max(2, len(ends) // 10)
    # The very first trials wait for the workers' imports.
    first = (ends[2 * part - 1] - ends[part // 2]) / (2 * part - 1 - part // 2)
    last = (ends[-1] - ends[-part]) / (part - 1)
    steady = (ends[-1] - ends[part // 2]) / (len(ends) - 1 - part // 2)
    at_first = next(memory for when, memory in seen.memory if when >= ends[part // 2])
    at_last = [memory for when, memory in seen.memory if when <= ends[-1]][-1]
    print(f"| {len(ends)} trials of nothing: whole command / trials | {seen.wall / len(ends) * 1e3:.0f} ms | 60 ms |")
    used = {kind: sum(seconds.values()) / len(ends) for kind, seconds in sorted(seen.processor.items())}
    parts = ", ".join(f"{kind} {1e3 * seconds:.0f}" for kind, seconds in used.items())
    floor = 1e3 * sum(used.values()) / CPUS
    print(
        f"| floor of that: processor time of all processes ({parts} ms a trial) over {CPUS} CPUs | {floor:.0f} ms | |"
    )
    print(f"| a trial between the first and the last end | {steady * 1e3:.1f} ms | |")
    ratio = f"{last / first:.2f}"
    print(
        f"| last {part} against first {part} after start-up: ms per trial | {last * 1e3:.1f} / {first * 1e3:.1f} "
        f"= {ratio} | 1.3 |"
    )
    print(
        f"| memory of the driver, growth meanwhile | {(at_last - at_first) / 1e6:.0f} MB "
        f"({at_first / 1e6:.0f} to {at_last / 1e6:.0f}) | 150 MB |"
    )


def write_study(folder: Path, name: str, shape: dict, num_trials: int) -> Path:
    """A study of about `num_trials` trials on digits."""
    seeds = ", ".join(str(seed) for seed in range(max(1, num_trials // METHODS)))
    path = folder / f"{name}.yaml"
    path.write_text(STUDY.format(name=name, seeds=seeds, **shape))
    return path


def run(study: Path, store: Path) -> Run:
    """`ccar run` as a process of its own."""
    begun, seen = time.monotonic(), Run(time.time())
    command = [str(Path(sys.executable).with_name("ccar")), "run", str(study), "--store", str(store)]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        driver = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                seen.look(driver)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.5)
        seen.wall = time.monotonic() - begun
        if process.wait() != 0:
            output.seek(0)
            sys.exit(output.read().decode())
    return seen


if __name__ == "__main__":
    main()
