"""A study in a storm: kills, freezes and outages by a seeded schedule, on real processes of a real cluster.

A fault strikes when the study has come a certain way, so that all of them strike while it trains, however slow the
machine is.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from ccar.cluster.local_cluster import start_cluster, stop_cluster
from ccar.cluster.local_nodes import NodeProcess, NodeStart, end_nodes, node_ports, processes_of
from ccar.errors import TrialBusy
from ccar.store.records import TrialRecord
from ccar.store.trial_store import TrialStore
from ccar.tracking.address import artifact_root, default_tracking_uri
from ccar.tracking.ui import serve
from ccar.tracking.web_server import LOOPBACK, free_port
from tests.processes import command_of, family_of, raylets_of, send, trial_processes

CCAR = [sys.executable, "-m", "ccar"]
LEASE_SECONDS = 20.0
PAST_THE_LEASE = 25.0  # also long enough for Ray to give the node up
A_WHILE = 2.0  # for which a worker is frozen, a disk or MLflow does not work
SECONDS_TO_DIE = 60.0

FAULTS = (
    "raylet killed",
    "head killed",
    "driver killed",
    "driver killed",
    "driver frozen",
    "worker killed",
    "worker killed",
    "worker frozen",
    "disk failing",
    "MLflow killed",
    "MLflow failing",
    "node frozen",
)
# Less patience than for networks that come back: a node that answers nobody is given up after 15 s.
_IMPATIENT = {
    "CCAR_LEASE_SECONDS": str(LEASE_SECONDS),
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What strikes, and when: so many seconds after so large a share of the study is committed."""

    kind: str
    share: float
    delay: float  # without it, faults would always strike just after a commit


def schedule(num_faults: int, seed: int) -> list[Fault]:
    """Rounds of all faults, each in another order, but a node freezes last: then its trial is the only one left.

    The last one is due after three quarters of the epochs: a study on a fast machine is well ahead of that by the time
    it has recovered from those before.
    """
    chance = random.Random(seed)
    kinds: list[str] = []
    while len(kinds) < num_faults:
        kinds += [*chance.sample(FAULTS[:-1], len(FAULTS) - 1), FAULTS[-1]]
    return [
        Fault(kind, (number + chance.random()) / (num_faults + 4), chance.random())
        for number, kind in enumerate(kinds[:num_faults])
    ]


@dataclass(frozen=True, slots=True)
class Hit:
    """A fault that has struck: when, by the monotonic clock, and how many epochs each trial under way had then."""

    kind: str
    at: float
    under_way: Mapping[str, int]


@dataclass(slots=True)
class Outcome:
    """What a storm has done, and what came of it."""

    faults: list[str] = field(default_factory=list)
    recoveries: list[tuple[str, float]] = field(default_factory=list)  # seconds until the study has recovered
    epochs_lost: int = 0  # committed, and gone later
    drivers: list[int] = field(default_factory=list)  # process numbers of all that it took
    clusters: list[Path] = field(default_factory=list)  # Ray's folders, one for each head
    survivors: list[str] = field(default_factory=list)  # processes that ought to have ended by themselves


class Storm:
    """Cluster, MLflow server and driver of one study, each of which can be hit; used as a context manager."""

    def __init__(self, study: Path, num_epochs: int, folder: Path, say: Callable[[str], None] = print) -> None:
        """Nothing is started yet.

        Args:
            study: the study file.
            num_epochs: of all its trials together.
            folder: for store and cluster.
            say: is told what strikes.
        """
        self._study = study
        self._num_epochs = num_epochs
        self._folder = folder
        self._say = say
        self.store = TrialStore(folder / "ccar-store")
        self._mlflow = ExitStack()
        self._mlflow_port = free_port(LOOPBACK)
        self._cleanup = ExitStack()
        self._driver: subprocess.Popen[bytes] | None = None
        self._num_nodes = 2
        self._records: dict[str, TrialRecord] = {}
        self._afterwards: list[tuple[float, Callable[[], object]]] = []  # when, and what undoes a fault
        self._watches: list[threading.Thread] = []
        self.outcome = Outcome()

    def __enter__(self) -> Storm:
        self._began = time.monotonic()
        self.store.root.mkdir()
        self._cleanup.enter_context(variables(_IMPATIENT))
        self._cleanup.callback(self._end)
        self._bring_mlflow_back()
        self._start_cluster()
        self._mlflow_comes_back.join()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def rage(self, faults: Sequence[Fault]) -> None:
        """Run the study to its end while the faults strike, then give MLflow what it lacks."""
        due = deque(faults)
        hit: Hit | None = None
        while True:
            committed = self._look()
            if hit is not None and self._has_recovered(hit):
                hit = None
            self._do_what_is_due()
            if self._driver is None or self._driver.poll() is not None:
                if self._driver is not None and self._driver.returncode == 0:
                    break
                self._start_driver()
            # One at a time: else nobody could say how long it took to recover from each.
            all_is_well = hit is None and not self._afterwards
            if due and all_is_well and committed >= due[0].share * self._num_epochs:
                time.sleep(due[0].delay)
                before, at = self._under_way(), time.monotonic()
                if before and self._strike(due[0].kind):
                    hit = Hit(due.popleft().kind, at, before)
                    self.outcome.faults.append(hit.kind)
                    self._say(f"{at - self._began:5.1f} s  {hit.kind}, {committed} epochs")
            time.sleep(0.1)
        while self._afterwards:
            self._do_what_is_due()
            time.sleep(0.1)
        self._mlflow_comes_back.join()
        for watch in self._watches:
            watch.join()
        command = [*CCAR, "sync", "--store", str(self.store.root)]
        subprocess.run(command, check=True, env=self._environment(), stdout=sys.stderr)

    def _look(self) -> int:
        """How many epochs are committed in all; notes those that are gone."""
        for key in sorted(self.store.keys()):
            former = self._records.get(key)
            if former is None or former.num_records != self.store.num_records(key):
                self._records[key] = self.store.read(key)
                lost = len(former.epochs) - len(self._records[key].epochs) if former else 0
                self.outcome.epochs_lost += max(0, lost)
        return sum(len(record.epochs) for record in self._records.values())

    def _under_way(self) -> dict[str, int]:
        """The trials that somebody trains, and how far they have got."""
        self._look()
        return {key: len(record.epochs) for key, record in self._records.items() if record.claim is not None}

    def _has_recovered(self, hit: Hit) -> bool:
        """Whether all trials that were under way when a fault struck have committed an epoch since."""
        done = all(len(self._records[key].epochs) > epochs for key, epochs in hit.under_way.items())
        if done:
            self.outcome.recoveries.append((hit.kind, time.monotonic() - hit.at))
            self._say(f"{time.monotonic() - self._began:5.1f} s  recovered from {hit.kind}")
        return done

    def _strike(self, kind: str) -> bool:
        """Do it; whether there was something to hit."""
        assert self._driver is not None
        match kind:
            case "node frozen":
                node = self._processes_of(self._cluster.nodes[1])
                if not trial_processes(node):  # it has just been started, or has nothing to do
                    return False
                self._freeze(node, PAST_THE_LEASE)
                self._later(PAST_THE_LEASE, self._replace_node)
            case "driver frozen":
                return self._freeze([psutil.Process(self._driver.pid)], PAST_THE_LEASE)
            case "worker frozen":
                return any(self._take_over(worker) for worker in self._workers())
            case "worker killed":
                return self._send(signal.SIGKILL, self._workers()[:1])
            case "driver killed":
                driver = psutil.Process(self._driver.pid)
                self._watch_end([*driver.children(recursive=True), *self._workers()])
                return self._send(signal.SIGKILL, [driver])
            case "raylet killed":
                node = self._processes_of(self._cluster.nodes[1])
                if not trial_processes(node):
                    return False
                self._send(signal.SIGKILL, raylets_of(node))
                self._replace_node()
            case "head killed":
                self._replace_cluster()
            case "disk failing":
                return self._forbid_writing(self._workers())
            case "MLflow killed":
                self._mlflow_comes_back.join()
                self._send(signal.SIGKILL, self._mlflow_processes())
                self._later(A_WHILE, self._bring_mlflow_back)
            case "MLflow failing":
                self._mlflow_comes_back.join()
                self._mlflow.close()
                self._mlflow.enter_context(refusing(self._mlflow_port))
                self._later(A_WHILE, self._bring_mlflow_back)
        return True

    def _send(self, number: int, processes: Sequence[psutil.Process]) -> bool:
        send(number, processes)
        return bool(processes)

    def _freeze(self, processes: Sequence[psutil.Process], seconds: float) -> bool:
        self._later(seconds, lambda: self._send(signal.SIGCONT, processes))
        return self._send(signal.SIGSTOP, processes)

    def _take_over(self, worker: psutil.Process) -> bool:
        """Freeze a worker, and claim its trial as others would after the lease: it must not write any more."""
        for record in self._records.values():
            if record.claim is not None and record.claim["worker"]["pid"] == worker.pid:
                self._freeze([worker], A_WHILE)
                try:
                    claim = self.store.claim(
                        record.config, record.parts, class_counts=record.class_counts, worker={}, even_if_busy=True
                    )
                except TrialBusy:  # it has finished since it was looked at
                    return False
                claim.release()
                return True
        return False

    def _forbid_writing(self, processes: Sequence[psutil.Process]) -> bool:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                limits = process.rlimit(resource.RLIMIT_FSIZE)
                process.rlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
                self._later(A_WHILE, lambda process=process, limits=limits: allow_writing(process, limits))
        return bool(processes)

    def _workers(self) -> list[psutil.Process]:
        return trial_processes(processes_of(self._cluster.nodes, self._cluster.ray_dir))

    def _processes_of(self, node: NodeProcess) -> list[psutil.Process]:
        return processes_of([node], self._cluster.ray_dir / node.name)

    def _mlflow_processes(self) -> list[psutil.Process]:
        found = []
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):
                if "mlflow" in command_of(child):
                    found += family_of(child.pid)
        return found

    def _expect_end(self, processes: Iterable[psutil.Process]) -> None:
        """They ought to end by themselves now."""
        _, alive = psutil.wait_procs(list(processes), timeout=SECONDS_TO_DIE)
        self.outcome.survivors += [" ".join(command_of(process))[:200] for process in alive]

    def _watch_end(self, processes: Iterable[psutil.Process]) -> None:
        """They ought to end by themselves, and the storm goes on meanwhile."""
        watch = threading.Thread(target=self._expect_end, args=(processes,))
        watch.start()
        self._watches.append(watch)

    def _replace_node(self) -> None:
        """Start another node instead of one that is lost, as whoever runs a cluster does."""
        former, self._num_nodes = self._cluster, self._num_nodes + 1
        self._expect_end(self._processes_of(former.nodes[1]))
        self._end_node()
        start = NodeStart(host=former.host, ray_dir=former.ray_dir, cpus=1, environment=former.environment)
        with node_ports(former.host) as ports:
            node = start.worker(f"node-{self._num_nodes}", former.address, ports)
        self._cluster = replace(former, nodes=(former.nodes[0], node))

    def _replace_cluster(self) -> None:
        """Kill the head, and start another cluster when the driver and all trials have noticed and ended."""
        assert self._driver is not None
        trials = self._workers()
        self._send(signal.SIGKILL, self._processes_of(self._cluster.nodes[0]))
        try:
            self._driver.wait(SECONDS_TO_DIE)
        except subprocess.TimeoutExpired:
            self.outcome.survivors.append("driver")
            self._driver.kill()
        self._expect_end(trials)
        self._end_node()
        stop_cluster(self._folder / "cluster")
        self._start_cluster()

    def _end_node(self) -> None:
        """What is left of the second node, if anything: the cluster's own note tells of the first one in its place."""
        node = self._cluster.nodes[1]
        end_nodes([node], self._cluster.ray_dir / node.name)

    def _start_cluster(self) -> None:
        self._cluster = start_cluster(self._folder / "cluster", num_nodes=2, cpus_per_node=1)
        self.outcome.clusters.append(self._cluster.ray_dir)

    def _start_mlflow(self) -> None:
        self._mlflow.close()
        uri = default_tracking_uri(self.store.root)
        self._mlflow.enter_context(serve(uri, artifact_root(self.store.root, uri), port=self._mlflow_port))

    def _bring_mlflow_back(self) -> None:
        """In a thread: it takes seconds, in which the study trains on and can be hit elsewhere."""
        self._mlflow_comes_back = threading.Thread(target=self._start_mlflow)
        self._mlflow_comes_back.start()

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self._cluster.environment,
            "MLFLOW_TRACKING_URI": f"http://{LOOPBACK}:{self._mlflow_port}",
        }

    def _start_driver(self) -> None:
        command = [*CCAR, "run", str(self._study), "--address", self._cluster.address, "--store", str(self.store.root)]
        with (self._folder / "driver.log").open("ab") as log:
            self._driver = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment(), start_new_session=True
            )
        self.outcome.drivers.append(self._driver.pid)

    def _later(self, seconds: float, do: Callable[[], object]) -> None:
        self._afterwards.append((time.monotonic() + seconds, do))

    def _do_what_is_due(self) -> None:
        now, waiting = time.monotonic(), self._afterwards
        self._afterwards = [(at, do) for at, do in waiting if at > now]
        for at, do in waiting:
            if at <= now:
                do()

    def _end(self) -> None:
        if self._driver is not None:  # it has ended, unless something went wrong
            self._driver.kill()
            self._driver.wait()
        self._mlflow_comes_back.join()
        self._mlflow.close()
        if self.outcome.clusters:
            self._end_node()
        stop_cluster(self._folder / "cluster")


def allow_writing(process: psutil.Process, limits: tuple[int, int]) -> None:
    with suppress(psutil.NoSuchProcess):
        process.rlimit(resource.RLIMIT_FSIZE, limits)


class _Refusal(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(503)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing: it is on purpose."""


@contextmanager
def refusing(port: int) -> Iterator[None]:
    """A server that answers everything with 503."""
    with ThreadingHTTPServer((LOOPBACK, port), _Refusal) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield
        finally:
            server.shutdown()


@contextmanager
def variables(added: Mapping[str, str]) -> Iterator[None]:
    """The environment with more in it, for the time of the block."""
    former = dict(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(former)
