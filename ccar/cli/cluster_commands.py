"""`ccar cluster`: a Ray cluster of several nodes on this machine."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ccar.cli.options import Json, talk
from ccar.machine import num_cpus

if TYPE_CHECKING:
    from ccar.cluster.local_cluster import LocalCluster

EXIT_NOT_RUNNING = 1

commands = typer.Typer(
    no_args_is_help=True,
    help="Try ccar on several Ray nodes on this machine. cluster/README.md has real clusters.",
)

Folder = Annotated[
    Path | None,
    typer.Option(
        envvar="CCAR_CLUSTER",
        metavar="DIR",
        help="Where it is noted what was started; default: ~/.local/state/ccar/cluster.",
        show_default=False,
    ),
]


@commands.command()
def start(
    nodes: Annotated[int, typer.Option(metavar="N", help="How many nodes, the head included.")] = 3,
    cpus_per_node: Annotated[
        int | None,
        typer.Option(metavar="N", help="CPUs of each; default: its share of this machine.", min=1, show_default=False),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="IP",
            help="IP address for the nodes. With any but this, Ray listens on all interfaces: needs your own token.",
        ),
    ] = "127.0.0.1",
    folder: Folder = None,
) -> None:
    """Start a cluster; asks for a token on every connection, and goes on until `ccar cluster stop`."""
    from ccar.cluster.local_cluster import start_cluster

    talk.print(f"starting {nodes} nodes, one after another ...", highlight=False)
    share = max(1, num_cpus() // max(nodes, 1)) if cpus_per_node is None else cpus_per_node
    cluster = start_cluster(_folder(folder), num_nodes=nodes, cpus_per_node=share, host=host)
    print(_how_to_use(cluster))


@commands.command()
def status(folder: Folder = None, as_json: Json = False) -> None:
    """Say what was started here and what of it still runs; exit code 1 when that is not everything."""
    from ccar.cluster.local_cluster import read_cluster

    cluster = read_cluster(_folder(folder))
    if cluster is None:
        _no_cluster()
        raise typer.Exit(EXIT_NOT_RUNNING)
    state = _state(cluster)
    print(json.dumps(state, indent=2) if as_json else _as_text(cluster, state))
    if not state["complete"]:
        raise typer.Exit(EXIT_NOT_RUNNING)


@commands.command()
def stop(folder: Folder = None) -> None:
    """End the cluster that was started here, and nothing else; trials go on from their last commit elsewhere."""
    from ccar.cluster.local_cluster import stop_cluster

    if stop_cluster(_folder(folder)):
        talk.print("stopped; no process, socket or file of it is left")
    else:
        _no_cluster()


def _folder(given: Path | None) -> Path:
    """Where the cluster is noted: what was given, or the user's folder for the state of programs."""
    from ccar.store.address import whole_path

    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return whole_path(given or state / "ccar" / "cluster")


def _no_cluster() -> None:
    talk.print("no cluster was started here")


def _how_to_use(cluster: LocalCluster) -> str:
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in cluster.environment.items())
    return "\n".join(
        [
            f"address  {cluster.address}",
            f"jobs     {cluster.dashboard}",
            f"use it   export {exports}",
            f"         ccar run studies/digits_lt.yaml --address {cluster.address}",
            f"end it   ccar cluster stop --folder {shlex.quote(str(cluster.folder))}",
        ]
    )


def _state(cluster: LocalCluster) -> dict[str, Any]:
    living = cluster.living_nodes()
    return {
        "address": cluster.address,
        "jobs": cluster.dashboard,
        "environment": dict(cluster.environment),
        "nodes": [{"name": node.name, "pid": node.pid, "running": node.is_running} for node in cluster.nodes],
        "alive_to_ray": len(living),
        "cpus": sum(node.cpus for node in living),
        "gpus": sum(node.gpus for node in living),
        "complete": all(node.is_running for node in cluster.nodes) and len(living) == len(cluster.nodes),
    }


def _as_text(cluster: LocalCluster, state: Mapping[str, Any]) -> str:
    ends = {True: "runs", False: "is gone"}
    nodes = [f"{node['name']:<8} {ends[node['running']]} (pid {node['pid']})" for node in state["nodes"]]
    ray = f"Ray has  {state['alive_to_ray']} nodes, {state['cpus']:g} CPUs, {state['gpus']:g} GPUs"
    return "\n".join([_how_to_use(cluster), *nodes, ray])
