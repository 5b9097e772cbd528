"""Scale, by simulation: a Ray cluster with 64 made-up GPUs, and studies of 10 to 5,000 trials of seconds.

The driver is `ccar run` as it is: its Tune, scheduler, store, feeder and report. So are Ray's GCS, and a raylet with
its agents for each node. Made up are the GPUs and the training (`benchmarks/stand_in.py`): all nodes are on this
machine, and 64 trials are under way on its few processors since they sleep. Then the store alone, with as many trials
made up at once as asked for: listing, reading, `ccar plan` and `ccar report`.

    python -m benchmarks.scaling [--nodes 16] [--gpus-per-node 4] [--seconds 4] [--run 10 100 1000 5000]
                                 [--stored 10 ... 10000] [--json FILE] [--figure FILE.svg]

docs/scaling.md says what comes of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from benchmarks.report import put_finished_trial, run_report
from benchmarks.stand_in import NUM_EPOCHS, StandIn
from ccar.store.records import TrialRecord
from ccar.store.trial_store import TrialStore
from ccar.study.definition import load_study
from ccar.study.expansion import load_data, plan_trials

STUDY = """\
study: scaling-{name}
question: What does a trial more cost?
data: {{name: digits, imbalance_factors: [10, 50], validation_per_class: 20}}
model: small_cnn
recipe: {{name: digits_quick, epochs: {epochs}}}
methods:
  bases: [cross_entropy, focal, ldam, logit_adjustment, balanced_softmax]
  reweighting: {{omega: {omegas}}}
seeds: {seeds}
baseline: cross_entropy
resources: {{cpus: 1, gpus: {gpus}}}
"""
PER_SEED = 10  # trials without omegas: 5 base losses x 2 imbalance factors
MOST_SEEDS = 5
NODE_BYTES = 80 * 2**20  # for Ray's objects, in shared memory; Ray wants no less
SAMPLE_SECONDS = 0.25
CROWDED = {  # dozens of nodes share two processors
    "RAY_worker_register_timeout_seconds": "600",  # Ray's 60 pass while 64 processes import Tune; then all begin again
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_memory_monitor_refresh_ms": "0",  # each node would look at all processes of the machine 4 times a second
    "RAY_enable_metrics_collection": "false",
}
PROCESSES = 2  # that make up trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A study through `ccar run` on the simulated cluster."""

    trials: int
    slots: int
    trial_seconds: float
    command_seconds: float
    ideal_seconds: float  # with every slot at work without a pause
    full_seconds: float  # from the command until every worker has claimed a trial: processes start, and import Tune
    between_ms: float  # from the end of a worker's trial to its claim of the next, median
    between_p95_ms: float
    longer_ms: float  # how much longer a trial took than it slept, median
    driver_cpu_ms: float  # per trial, between the first and the last end
    driver_peak_mb: float  # the report at the end included
    driver_growth_kb: float | None  # per trial, from a tenth of the ends to the last; None where too few for that


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A store of finished trials that were made up."""

    trials: int
    inodes: int  # of all that lies in it
    megabytes: float
    list_seconds: float
    read_seconds: float
    plan_seconds: float
    plan_gb: float
    report_seconds: float
    report_gb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What was simulated, and what it takes on this machine before any trial runs."""

    address: str
    nodes: int
    gpus: int  # of all nodes together: trials at once
    start_seconds: float
    node_mb: float  # shared pages count in parts
    idle_cores: float  # of processors in use while nothing runs
    environment: dict[str, str]  # for those who want in


def main() -> None:
    """Measure and print Markdown."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--nodes", type=int, default=16)
    arguments.add_argument("--gpus-per-node", type=int, default=4)
    arguments.add_argument("--seconds", type=float, default=4.0, help="that each trial takes")
    arguments.add_argument("--run", type=int, nargs="*", default=[10, 100, 1000, 5000], help="trials")
    arguments.add_argument("--stored", type=int, nargs="*", default=[10, 100, 1000, 5000, 10_000], help="trials")
    arguments.add_argument("--json", type=Path, help="write the figures there as well")
    arguments.add_argument("--figure", type=Path, help="draw them there")
    arguments.add_argument("--drive", nargs=4, metavar=("STUDY", "STORE", "ADDRESS", "SECONDS"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.drive:
        drive(*given.drive)
        return
    print("## Scale (`python -m benchmarks.scaling`)\n")
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="ccar-bench-") as folder:
        if given.run:
            with simulated_cluster(given.nodes, given.gpus_per_node, Path(folder)) as cluster:
                print_cluster(cluster)
                for trials in given.run:
                    runs.append(measured_run(trials, given.seconds, cluster, Path(folder)))
                    print_run(runs[-1], first=len(runs) == 1)
        stored = [measured_store(trials, Path(folder) / str(trials)) for trials in given.stored]
    print_stored(stored)
    figures = {"runs": [asdict(run) for run in runs], "stored": [asdict(each) for each in stored]}
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if given.figure:
        draw(runs, stored, given.nodes, given.figure)


@contextmanager
def simulated_cluster(num_nodes: int, gpus_per_node: int, folder: Path) -> Iterator[Cluster]:
    """A head, and nodes of as many CPUs and GPUs, none of them there, all on loopback and with a token."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32), encoding="ascii")
    token.chmod(0o600)
    admission = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    # Ray writes the address of a cluster there, where others on this machine would take it for `auto`.
    os.environ.update(admission, RAY_TMPDIR=str(folder))

    from ray._private import services

    from ccar.cluster.ray_session import SETTINGS

    os.environ.update(SETTINGS)  # for the raylets
    os.environ.update(CROWDED)

    services.get_node_ip_address = lambda address=None: "127.0.0.1"  # see ccar.cluster.loopback
    from ray.cluster_utils import Cluster as RayCluster

    logging.getLogger("ray").setLevel(logging.ERROR)
    node: dict[str, object] = {
        "num_cpus": gpus_per_node,
        "object_store_memory": NODE_BYTES,
        "include_log_monitor": False,
        "node_ip_address": "127.0.0.1",
        "temp_dir": str(folder / "ray"),
    }
    began = time.perf_counter()
    head = {**node, "num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "no_monitor": True}
    nodes = RayCluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(num_nodes):
            nodes.add_node(**node, num_gpus=gpus_per_node, wait=False)
        nodes.wait_for_nodes(timeout=300)
        start_seconds = time.perf_counter() - began
        time.sleep(5.0)  # the agents are still at it
        begin = of_the_living(psutil.Process().children(recursive=True), processor_seconds)
        time.sleep(10.0)
        end = of_the_living(begin, processor_seconds)
        memory = of_the_living(end, lambda process: process.memory_full_info().pss)
        yield Cluster(
            address=nodes.address,
            nodes=num_nodes,
            gpus=num_nodes * gpus_per_node,
            start_seconds=start_seconds,
            node_mb=sum(memory.values()) / 1e6 / (num_nodes + 1),
            idle_cores=sum(end[process] - begin[process] for process in end) / 10.0,
            environment=admission,
        )
    finally:
        nodes.shutdown()


def of_the_living(
    processes: Iterable[psutil.Process], ask: Callable[[psutil.Process], float]
) -> dict[psutil.Process, float]:
    """What is answered for each; those that helped Ray to start may have ended, and are left out."""
    found = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found[process] = ask(process)
    return found


def processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def drive(study: str, store: str, address: str, seconds: str) -> None:
    """`ccar run`, with the stand-in for the worker that trains."""
    from ccar.cli import main as ccar
    from ccar.cluster import tune_runner

    tune_runner.run_on_ray = partial(tune_runner.run_on_ray, new_worker=partial(StandIn, seconds=float(seconds)))
    sys.argv = ["ccar", "run", study, "--store", store, "--address", address]
    ccar()


def measured_run(num_trials: int, seconds: float, cluster: Cluster, folder: Path) -> Run:
    """Start the driver, look at it several times a second, and read in the store what came of it."""
    study, store = write_study(num_trials, folder, epochs=NUM_EPOCHS, gpus=1), folder / f"store-{num_trials}"
    command = [sys.executable, "-m", "benchmarks.scaling", "--drive", study, store, cluster.address, seconds]
    samples = []  # Unix time, bytes, processor seconds
    began, began_at = time.perf_counter(), time.time()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            list(map(str, command)), stdout=output, stderr=output, env={**os.environ, **cluster.environment}
        )
        driver = psutil.Process(process.pid)
        try:
            while process.poll() is None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    samples.append((time.time(), driver.memory_info().rss, processor_seconds(driver)))
                time.sleep(SAMPLE_SECONDS)
        finally:  # Ctrl-C: the driver ends its trials and its feeder, as it would for a user
            process.terminate()
            process.wait()
        command_seconds = time.perf_counter() - began
        if process.wait() != 0:
            output.seek(0)
            sys.exit(output.read().decode())
    records = list(TrialStore(store).all_records())
    assert [record.status for record in records] == ["finished"] * num_trials
    when, memory, processor = np.array(samples).T
    ends = sorted(record.ended_at or 0.0 for record in records)
    at_tenth, at_last = np.interp([ends[num_trials // 10], ends[-1]], when, memory)
    at_first_end, at_last_end = np.interp([ends[0], ends[-1]], when, processor)
    between = pauses(records)
    return Run(
        trials=num_trials,
        slots=cluster.gpus,
        trial_seconds=seconds,
        command_seconds=command_seconds,
        ideal_seconds=-(-num_trials // cluster.gpus) * seconds,
        full_seconds=max(first_claims(records)) - began_at,
        between_ms=1e3 * float(np.median(between)) if between else float("nan"),
        between_p95_ms=1e3 * float(np.quantile(between, 0.95)) if between else float("nan"),
        longer_ms=1e3 * statistics.median((record.ended_at or 0.0) - record.started_at - seconds for record in records),
        driver_cpu_ms=1e3 * float(at_last_end - at_first_end) / num_trials,
        driver_peak_mb=float(memory.max()) / 1e6,
        driver_growth_kb=float(at_last - at_tenth) / 1e3 / (0.9 * num_trials)
        if num_trials > 10 * cluster.gpus
        else None,
    )


def first_claims(records: list[TrialRecord]) -> list[float]:
    """When each worker has claimed its first trial, Unix time."""
    claims: dict[int, float] = {}
    for record in records:
        pid = record.worker["pid"]
        claims[pid] = min(claims.get(pid, np.inf), record.started_at or 0.0)
    return list(claims.values())


def pauses(records: list[TrialRecord]) -> list[float]:
    """Seconds from the end of each trial to the claim of the next one by the same worker."""
    of_worker = defaultdict(list)
    for record in records:
        of_worker[record.worker["pid"]].append((record.started_at, record.ended_at))
    return [
        after[0] - before[1]
        for times in of_worker.values()
        for before, after in zip(sorted(times), sorted(times)[1:], strict=False)
    ]


def write_study(num_trials: int, folder: Path, *, epochs: int, gpus: float) -> Path:
    """A study of so many trials, in as many seeds as it takes up to 5 and as many omegas beyond that."""
    num_seeds = max(1, min(MOST_SEEDS, num_trials // PER_SEED))
    num_omegas, rest = divmod(num_trials - PER_SEED * num_seeds, PER_SEED * num_seeds)
    if rest:
        raise SystemExit(f"{num_trials} trials: not a multiple of {PER_SEED * num_seeds}")
    omegas = [round(step / (num_omegas + 1), 6) for step in range(1, num_omegas + 1)]
    text = STUDY.format(name=num_trials, epochs=epochs, omegas=omegas, seeds=list(range(num_seeds)), gpus=gpus)
    file = folder / f"scaling-{num_trials}.yaml"
    file.write_text(text if omegas else text.replace("  reweighting: {omega: []}\n", ""), encoding="utf-8")
    return file


def measured_store(num_trials: int, folder: Path) -> Stored:
    """Make up so many finished trials, and look at them in every way that a user does."""
    folder.mkdir()
    file = write_study(num_trials, folder, epochs=20, gpus=0)
    with ProcessPoolExecutor(PROCESSES) as pool:
        list(pool.map(partial(put_trials, file, folder), range(PROCESSES)))
    store = TrialStore(folder / "store")
    began = time.perf_counter()
    keys = store.keys()
    listed = time.perf_counter()
    num_read = sum(record.status == "finished" for record in store.all_records())
    read = time.perf_counter()
    assert len(keys) == num_read == num_trials
    found = [Path(parent, name) for parent, folders, files in os.walk(store.root) for name in (*folders, *files)]
    size = sum(path.lstat().st_blocks for path in found) * 512
    plan_seconds, plan_gb = run_plan(file, folder)
    report_seconds, report_gb = run_report(file, folder, folder / "report")
    return Stored(
        trials=num_trials,
        inodes=len(found),
        megabytes=size / 1e6,
        list_seconds=listed - began,
        read_seconds=read - listed,
        plan_seconds=plan_seconds,
        plan_gb=plan_gb,
        report_seconds=report_seconds,
        report_gb=report_gb,
    )


def put_trials(file: Path, folder: Path, part: int) -> None:
    """Every second trial of the study, finished with made-up numbers.

    Nothing waits for the disk: if the machine stops, they are made up again.
    """
    os.fsync = lambda fd: None
    study, store = load_study(file), TrialStore(folder / "store")
    trials = plan_trials(study, load_data(study, folder / "cache"))[part::PROCESSES]
    levels = np.random.default_rng(part).normal(0.7, 0.01, len(trials))
    for trial, level in zip(trials, levels.tolist(), strict=True):
        put_finished_trial(store, trial, level)


def run_plan(file: Path, folder: Path) -> tuple[float, float]:
    """Seconds, and gigabytes of memory at most."""
    command = [sys.executable, "-m", "ccar", "plan", str(file), "--store", str(folder / "store")]
    began = time.perf_counter()
    environment = {**os.environ, "CCAR_CACHE": str(folder / "cache")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - began, usage.ru_maxrss / 1e6


def print_cluster(cluster: Cluster) -> None:
    print(
        f"{cluster.nodes} simulated nodes with {cluster.gpus} GPUs, up after {cluster.start_seconds:.0f} s; "
        f"{cluster.node_mb:.0f} MB and {1e3 * cluster.idle_cores / (cluster.nodes + 1):.0f} thousandths of a processor "
        "for each while nothing runs. The driver is real; a trial sleeps, and commits two epochs, test and model.\n"
    )


def print_run(run: Run, *, first: bool) -> None:
    """One row of the table, below its head if it is the first."""
    if first:
        print(
            f"| trials of {run.trial_seconds:g} s, {run.slots} at once | whole command, s | until all are at work, s "
            "| ideal, s | worker idle between two trials, ms (p95) | trial longer than its sleep, ms "
            "| driver CPU, ms a trial | driver memory at most, MB | growth, kB a trial |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
    growth = "" if run.driver_growth_kb is None else f"{run.driver_growth_kb:.1f}"
    between = "" if np.isnan(run.between_ms) else f"{run.between_ms:.0f} ({run.between_p95_ms:.0f})"
    print(
        f"| {run.trials:,} | {run.command_seconds:.0f} | {run.full_seconds:.0f} | {run.ideal_seconds:.0f} | {between} "
        f"| {run.longer_ms:.0f} | {run.driver_cpu_ms:.1f} | {run.driver_peak_mb:.0f} | {growth} |",
        flush=True,
    )


def print_stored(stored: list[Stored]) -> None:
    print(
        "\n| finished trials in the store | list their keys, s | read them all, s | `ccar plan`, s | `ccar report`, s "
        "| memory of plan and report at most, GB | files and folders | MB on disk |\n|---|---|---|---|---|---|---|---|"
    )
    for each in stored:
        print(
            f"| {each.trials:,} | {each.list_seconds:.3f} | {each.read_seconds:.2f} | {each.plan_seconds:.1f} "
            f"| {each.report_seconds:.1f} | {each.plan_gb:.2f}, {each.report_gb:.2f} | {each.inodes:,} "
            f"| {each.megabytes:,.0f} |"
        )


def draw(runs: list[Run], stored: list[Stored], nodes: int, file: Path) -> None:
    """Per trial, over the number of trials: flat lines are what is wanted."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    driver, store = figure.subplots(1, 2)
    driver.plot([run.trials for run in runs], [run.driver_cpu_ms for run in runs], "o-", label="driver CPU")
    driver.plot([run.trials for run in runs], [run.between_ms for run in runs], "s-", label="worker idle between")
    driver.set(ylabel="ms per trial", title=f"A run on {nodes} nodes")
    counts = np.array([each.trials for each in stored])
    for name, label in (
        ("list_seconds", "list keys"),
        ("read_seconds", "read all"),
        ("plan_seconds", "ccar plan"),
        ("report_seconds", "ccar report"),
    ):
        store.plot(counts, 1e3 * np.array([getattr(each, name) for each in stored]) / counts, "o-", label=label)
    store.set(ylabel="ms per trial", title="The store alone")
    for axes in (driver, store):
        axes.set(xscale="log", yscale="log", xlabel="trials")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
