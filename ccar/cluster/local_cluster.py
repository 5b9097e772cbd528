"""A real Ray cluster of several nodes on this machine, for trying things and for tests.

Its folder says what was started; everything that Ray writes goes into a directory of its own. So `stop_cluster`
leaves no process, socket or file behind, and touches nothing else.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ccar.cluster.dashboard import LivingNode, NoAnswer, living_nodes
from ccar.cluster.last_words import last_words
from ccar.cluster.local_nodes import (
    LOOPBACK,
    RAY_DIR_PREFIX,
    NodeProcess,
    NodeStart,
    can_listen,
    end_nodes,
    log_file,
    make_ray_dir,
    node_ports,
)
from ccar.cluster.token import find_token, read_token, token_file, write_token
from ccar.errors import ClusterError, UserError
from ccar.machine import gpu_ids

SECONDS_TO_START = 120.0  # for one node; 5 to 10 on an idle machine


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCluster:
    """What was started, as the folder of the cluster has it."""

    folder: Path
    host: str
    port: int
    dashboard_port: int
    ray_dir: Path
    token_path: Path | None  # None: the token is in RAY_AUTH_TOKEN
    nodes: tuple[NodeProcess, ...]  # the head first

    @property
    def address(self) -> str:
        """For drivers: `ccar run --address`."""
        return f"{self.host}:{self.port}"

    @property
    def dashboard(self) -> str:
        """For jobs and browsers; on loopback whatever the host is."""
        return f"http://{LOOPBACK}:{self.dashboard_port}"

    @property
    def token(self) -> str | None:
        """The token that the cluster asks for; None when it cannot be read any more."""
        return find_token() if self.token_path is None else read_token(self.token_path)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which a client of this cluster gets in."""
        path = {} if self.token_path is None else {"RAY_AUTH_TOKEN_PATH": str(self.token_path)}
        return {"RAY_AUTH_MODE": "token", **path}

    def living_nodes(self) -> tuple[LivingNode, ...]:
        """The nodes that Ray takes for alive; none when its dashboard does not answer.

        A node that was killed is told for dead after the 15 s that Ray's health checks take.
        """
        try:
            return living_nodes(self.dashboard, self.token)
        except NoAnswer:
            return ()


def start_cluster(folder: Path, *, num_nodes: int, cpus_per_node: int, host: str = LOOPBACK) -> LocalCluster:
    """Start a head and `num_nodes - 1` further nodes, one after another, and wait until Ray knows them all.

    Every node asks for a token: the user's own, or one that is made up here and lies in the folder.

    Args:
        folder: where to note what was started, absolute; created with mode 0700.
        num_nodes: how many nodes, the head included; at least 1.
        cpus_per_node: how many CPUs each offers; no more than a number to Ray.
        host: the IP address to listen on. For any other than loopback the user must have a token.

    Raises:
        UserError: the folder or the host cannot be used, or a cluster was started in this folder before.
        ClusterError: a node did not come up; what had been started is gone again.
    """
    if not 1 <= num_nodes <= 64 or cpus_per_node < 1:
        raise UserError("a cluster has 1 to 64 nodes, and at least one CPU on each")
    _check_host(host)
    has_own_token = find_token() is None  # asked first: one that cannot be a token is told, and nothing has been made
    _make_private(folder)
    with node_ports(host) as ports:
        cluster = LocalCluster(
            folder=folder,
            host=host,
            port=ports.free[0],
            dashboard_port=ports.free[1],
            ray_dir=make_ray_dir(),
            token_path=folder / "token" if has_own_token else token_file(),
            nodes=(),
        )
        try:
            _note(cluster, first=True)
        except FileExistsError:
            cluster.ray_dir.rmdir()
            raise UserError(
                f"a cluster was started here before, and is noted in {folder}",
                hint="see `ccar cluster status`; end it with `ccar cluster stop`, or give another --folder",
            ) from None
        try:
            if cluster.token_path == folder / "token":
                write_token(cluster.token_path)
            head, *others = [
                NodeStart(
                    host=host,
                    ray_dir=cluster.ray_dir,
                    cpus=cpus_per_node,
                    environment={**cluster.environment, **gpus},
                )
                for gpus in _gpus_by_node(num_nodes)
            ]
            cluster = _joined_by(head.head(ports), cluster)
            for number, other in enumerate(others, start=1):
                with node_ports(host) as more:
                    cluster = _joined_by(other.worker(f"node-{number}", cluster.address, more), cluster)
        except BaseException:  # Ctrl-C as well: half a cluster helps nobody
            stop_cluster(folder)
            raise
    return cluster


def _gpus_by_node(num_nodes: int) -> Iterator[Mapping[str, str]]:
    """For each node the variable by which it sees a part of this machine's GPUs that no other has; maybe no GPU at all.

    Otherwise each would count, and offer, all of them.
    """
    gpus = gpu_ids()
    for number in range(num_nodes):
        yield {"CUDA_VISIBLE_DEVICES": ",".join(gpus[number::num_nodes])} if gpus else {}


def _joined_by(node: NodeProcess, cluster: LocalCluster) -> LocalCluster:
    """Note the new node, and wait until Ray knows it."""
    cluster = replace(cluster, nodes=(*cluster.nodes, node))
    _note(cluster)
    deadline = time.monotonic() + SECONDS_TO_START
    while len(cluster.living_nodes()) < len(cluster.nodes):
        if not node.is_running or time.monotonic() > deadline:
            words = last_words(log_file(cluster.ray_dir, node.name).read_text(errors="replace"))
            raise ClusterError(f"{node.name} of the cluster did not come up: {words}")
        time.sleep(0.2)
    return cluster


def read_cluster(folder: Path) -> LocalCluster | None:
    """What was started in this folder and not stopped yet, whether or not it still runs.

    Raises:
        UserError: the folder's note cannot be read.
    """
    file = _state_file(folder)
    try:
        content = json.loads(file.read_bytes())
        nodes = tuple(NodeProcess(**node) for node in content.pop("nodes"))
        paths: dict[str, Any] = {name: path and Path(path) for name, path in content.items() if name in _PATHS}
        return LocalCluster(**{**content, **paths, "nodes": nodes})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"cannot read {file}: {error}", hint="was it written by another version of ccar?") from error


def stop_cluster(folder: Path) -> bool:
    """End everything that was started in this folder, and remove what it has written.

    Returns:
        False when there was nothing.

    Raises:
        UserError: the folder's note cannot be read.
    """
    cluster = read_cluster(folder)
    if cluster is None:
        return False
    end_nodes(cluster.nodes, cluster.ray_dir)
    if cluster.ray_dir.name.startswith(RAY_DIR_PREFIX):
        shutil.rmtree(cluster.ray_dir, ignore_errors=True)
    if cluster.token_path == folder / "token":
        cluster.token_path.unlink(missing_ok=True)
    _state_file(folder).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty: somebody else's files
        folder.rmdir()
    return True


_PATHS = ("folder", "ray_dir", "token_path")


def _state_file(folder: Path) -> Path:
    return folder / "cluster.json"


def _note(cluster: LocalCluster, *, first: bool = False) -> None:
    text = json.dumps(asdict(cluster), default=str, indent=1)
    file = _state_file(cluster.folder)
    if first:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    else:
        temporary = file.with_suffix(".new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise UserError(f"cannot use the folder {folder}: {error.strerror}") from error
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UserError(
            f"the folder {folder} is open to others, and the cluster's token would lie in it",
            hint=f"chmod 700 {folder}, or give another --folder",
        )


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise UserError(f"cannot listen on {host!r}", hint="expected an IP address of this machine") from None
    if host != LOOPBACK and find_token() is None:
        raise UserError(
            f"a cluster on {host} can be reached from other machines, and there is no token to ask them for",
            hint="make one with `ray get-auth-token --generate`, or write it into a file of mode 600 that "
            "RAY_AUTH_TOKEN_PATH names",
        )
    if not can_listen(host):
        raise UserError(f"cannot listen on {host}", hint="expected an IP address of this machine")
