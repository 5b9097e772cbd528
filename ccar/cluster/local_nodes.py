"""The processes of Ray nodes on this machine: started, recognised and ended, and never anybody else's."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ccar.errors import ClusterError
from ccar.tracking.web_server import PORTS_OF_SERVERS

LOOPBACK = "127.0.0.1"
RAY_DIR_PREFIX = "ccar-ray-"
# Nodes and drivers end when their head has been gone for so long; with Ray's 60 s, all in them would outlive it longer.
PATIENCE_WITH_A_LOST_HEAD: Mapping[str, str] = {"RAY_gcs_rpc_server_reconnect_timeout_s": "20"}
SECONDS_TO_STOP = 8.0  # on an idle machine a node takes 4 s after SIGTERM; then SIGKILL

_PORTS_OF_A_NODE = 16
_AGENT_PORTS = ("dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent", "metrics-export")
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


def can_listen(host: str, port: int = 0) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind((host, port))
        return True
    return False


@dataclass(frozen=True, slots=True)
class NodePorts:
    """Neighbouring ports for one node, on which nobody listens."""

    guard: socket.socket  # bound to the one before them
    free: range


@contextlib.contextmanager
def node_ports(host: str) -> Iterator[NodePorts]:
    """Find ports for one node, and start it while the block runs.

    The guard is handed on to the node's first process and bound as long as that lives, by which others who look for
    ports know that all are taken: clusters that start at the same time would otherwise take some from each other.

    Raises:
        ClusterError: there are none.
    """
    starts = PORTS_OF_SERVERS[:-_PORTS_OF_A_NODE:_PORTS_OF_A_NODE]
    for start in random.sample(starts, len(starts)):
        free = range(start + 1, start + _PORTS_OF_A_NODE)
        with socket.socket() as guard, contextlib.suppress(OSError):
            guard.bind((host, start))
            if all(can_listen(host, port) for port in free):
                yield NodePorts(guard, free)
                return
    raise ClusterError(f"no {_PORTS_OF_A_NODE} ports in a row are free on {host}")


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

    def head(self, ports: NodePorts) -> NodeProcess:
        """Start the head: GCS, dashboard with its job server, and a raylet. Returns at once.

        The first of the ports is the GCS's, which is the cluster's address; the second the dashboard's, which is on
        loopback whatever the host is.
        """
        gcs, dashboard, client, autoscaler_metrics, dashboard_metrics, *agents = ports.free
        options = ["--head", f"--port={gcs}", f"--ray-client-server-port={client}"]
        options += [f"--dashboard-host={LOOPBACK}", f"--dashboard-port={dashboard}"]
        variables = {"AUTOSCALER_METRIC_PORT": str(autoscaler_metrics), "DASHBOARD_METRIC_PORT": str(dashboard_metrics)}
        return self._start("head", options, variables, ports.guard, agents)

    def worker(self, name: str, address: str, ports: NodePorts) -> NodeProcess:
        """Start a node that joins the cluster at `address`. Returns at once."""
        return self._start(name, [f"--address={address}"], {}, ports.guard, ports.free)

    def _start(
        self,
        name: str,
        options: Sequence[str],
        environment: Mapping[str, str],
        guard: socket.socket,
        agent_ports: Sequence[int],
    ) -> NodeProcess:
        module = "ccar.cluster.loopback" if self.host == LOOPBACK else "ray.scripts.scripts"
        command = [sys.executable, "-m", module, "start", "--block", "--disable-usage-stats", "--log-style=record"]
        command += [f"--node-ip-address={self.host}", f"--num-cpus={self.cpus}"]
        # A folder for each node: a node unpacks the code of a job anew, and would pull it from under another one.
        command += [f"--temp-dir={self.ray_dir / name}"]
        command += [f"--object-store-memory={_OBJECT_STORE_BYTES}"]
        # All ports are told: a raylet gives its agents 15 s to choose theirs and dies, which a busy machine exceeds.
        command += [f"--{name}-port={port}" for name, port in zip(_AGENT_PORTS, agent_ports, strict=False)]
        command += ["--min-worker-port=0", "--max-worker-port=0", *options]  # the system's choice
        # Ray's 3 s between SIGTERM and SIGKILL of a job are too few for a driver to end its trials cleanly.
        path = os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        )  # jobs say `python`
        patience = {
            "RAY_JOB_STOP_WAIT_TIME_S": "30",
            "RAY_agent_register_timeout_ms": "120000",
            **PATIENCE_WITH_A_LOST_HEAD,
        }
        with log_file(self.ray_dir, name).open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.ray_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**patience, **os.environ, **self.environment, **environment, "PATH": path},
                start_new_session=True,
                pass_fds=[guard.fileno()],
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
