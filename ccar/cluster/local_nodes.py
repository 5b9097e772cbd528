"""The processes of Ray nodes on this machine: started, recognised and ended, and never anybody else's."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

LOOPBACK = "127.0.0.1"
RAY_DIR_PREFIX = "ccar-ray-"
SECONDS_TO_STOP = 8.0  # on an idle machine a node takes 4 s after SIGTERM; then SIGKILL

_PORTS = range(20_000, 32_768)  # below those that the system hands out, which could be taken meanwhile
_SAME_START_SECONDS = 1.0  # the process table counts in ticks since boot, and boot time is adjusted
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}  # by pid: for whoever starts nodes and lives on to reap them
_OBJECT_STORE_BYTES = 128 * 2**20  # trials pass nothing large on; Ray's default is a share of all memory per node


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProcess:
    """The `ray start --block` of one node: leader of a session to which nearly all of the node belongs."""

    name: str
    pid: int
    started: float  # Unix time from the process table: tells this process from a later one of the same number

    @property
    def is_running(self) -> bool:
        """Whether it is still there; when one of its parts dies, it ends by itself."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _SAME_START_SECONDS
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def make_ray_dir() -> Path:
    """A new private folder (mode 700) for one cluster's sockets and logs, to be given to Ray as DIR/NAME.

    Ray opens its own temporary directory, /tmp/ray or what it is told, to everybody. It is not below TMPDIR:
    the paths of sockets may not be longer than 107 characters.
    """
    return Path(tempfile.mkdtemp(prefix=RAY_DIR_PREFIX, dir="/tmp"))


@contextlib.contextmanager
def private_ray_dir() -> Iterator[Path]:
    """The same for as long as the block runs."""
    folder = make_ray_dir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # some process of Ray's may still be at its last words


def free_ports(host: str, count: int) -> list[int]:
    """Different ports on which nobody listens now."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            found.append(port)
        if len(found) == count:
            break
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStart:
    """How to start nodes of one cluster; each is started as a user would, by `ray start`.

    Args:
        host: where to listen.
        ray_dir: for sessions, sockets and logs; also the working directory, by which processes are known.
        cpus: how many CPUs a node offers.
        environment: further variables for its processes.
    """

    host: str
    ray_dir: Path
    cpus: int
    environment: Mapping[str, str]

    def head(self, *, port: int, dashboard_port: int) -> NodeProcess:
        """Start the head: GCS, dashboard with its job server, and a raylet. Returns at once.

        Args:
            port: of the GCS, which is the cluster's address.
            dashboard_port: of the dashboard, which is on loopback whatever the host is.
        """
        client_port, autoscaler_port, metrics_port = free_ports(self.host, 3)
        options = ["--head", f"--port={port}", f"--ray-client-server-port={client_port}"]
        options += [f"--dashboard-host={LOOPBACK}", f"--dashboard-port={dashboard_port}"]
        ports = {"AUTOSCALER_METRIC_PORT": str(autoscaler_port), "DASHBOARD_METRIC_PORT": str(metrics_port)}
        return self._start("head", options, ports)

    def worker(self, name: str, address: str) -> NodeProcess:
        """Start a node that joins the cluster at `address`. Returns at once."""
        return self._start(name, [f"--address={address}"], {})

    def _start(self, name: str, options: Sequence[str], environment: Mapping[str, str]) -> NodeProcess:
        module = "ccar.cluster.loopback" if self.host == LOOPBACK else "ray.scripts.scripts"
        command = [sys.executable, "-m", module, "start", "--block", "--disable-usage-stats", "--log-style=record"]
        command += [f"--node-ip-address={self.host}", f"--num-cpus={self.cpus}"]
        # A folder for each node: a node unpacks the code of a job anew, and would pull it from under another one.
        command += [f"--temp-dir={self.ray_dir / name}"]
        command += [f"--object-store-memory={_OBJECT_STORE_BYTES}"]
        command += [f"--dashboard-agent-listen-port={free_ports(self.host, 1)[0]}", *options]
        # Ray's 3 s between SIGTERM and SIGKILL of a job are too few for a driver to end its trials cleanly.
        path = os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        )  # jobs say `python`
        patience = {"RAY_JOB_STOP_WAIT_TIME_S": "30"}
        with log_file(self.ray_dir, name).open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.ray_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **patience, **self.environment, **environment, "PATH": path},
                start_new_session=True,
            )
        _CHILDREN[process.pid] = process
        return NodeProcess(name=name, pid=process.pid, started=psutil.Process(process.pid).create_time())


def log_file(ray_dir: Path, node: str) -> Path:
    """What the node's `ray start` has printed."""
    return ray_dir / f"{node}.log"


def processes_of(nodes: Iterable[NodeProcess], ray_dir: Path) -> list[psutil.Process]:
    """Every process that the nodes have started, directly or not, even if its parents are gone.

    A process is known by its session, as long as the session's leader lives (a number alone may be somebody
    else's by now); by its working directory, which no other cluster has; or by its parent. Whoever merely
    looks around in the directory has a terminal, or is us.
    """
    sessions = {node.pid for node in nodes if node.is_running}
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) in sessions or _works_in(process, ray_dir):
                found[process.pid] = process
                found.update((child.pid, child) for child in process.children(recursive=True))
    return [process for pid, process in found.items() if pid not in spared and _is_left(process)]


def _works_in(process: psutil.Process, folder: Path) -> bool:
    return process.terminal() is None and Path(process.cwd()).is_relative_to(folder)


def _is_left(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def end_nodes(nodes: Sequence[NodeProcess], ray_dir: Path) -> None:
    """End the nodes with all their processes: SIGTERM to their leaders, then SIGKILL to whatever is left."""
    leaders = [node for node in nodes if node.is_running]
    if leaders:
        everything = processes_of(leaders, ray_dir)
        for leader in leaders:
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader.pid, signal.SIGTERM)
        psutil.wait_procs(everything, timeout=SECONDS_TO_STOP)
    while left := processes_of(nodes, ray_dir):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1.0)
    for node in nodes:
        if node.pid in _CHILDREN:
            _CHILDREN.pop(node.pid).wait()
