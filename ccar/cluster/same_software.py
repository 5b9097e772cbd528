"""Nodes with other software than the driver's would train other numbers under the same keys: they are refused."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import ray

from ccar.cluster.node_facts import differences, software
from ccar.cluster.survey import answers, living_nodes, name_of, on_node
from ccar.errors import ClusterError, WrongNode

_HINT = "install the same Python and the same requirements.lock on every node; `ccar doctor` says more"


def check_nodes() -> None:
    """Compare every living node of the cluster, to which this driver is connected, with the driver.

    Raises:
        WrongNode: some differ; they are named.
        ClusterError: some node lives and did not answer.
    """
    nodes = living_nodes()
    names = [name_of(node, number) for number, node in enumerate(nodes)]
    look: Any = ray.remote(num_cpus=0)(software)  # waits for no trial to end
    try:
        found = answers([look.options(scheduling_strategy=on_node(node)).remote() for node in nodes], names)
    except ClusterError:
        if set(map(_id, nodes)) <= set(map(_id, living_nodes())):
            raise
        check_nodes()  # one has died meanwhile, and a cluster goes on without it
        return
    wanted = software()
    wrong = [
        f"{name} has {text}" for name, there in zip(names, found, strict=True) if (text := differences(wanted, there))
    ]
    if wrong:
        raise WrongNode("; ".join(wrong), hint=_HINT)


def _id(node: dict[str, Any]) -> str:
    return str(node["NodeID"])


def check_this_node(wanted: Mapping[str, str]) -> None:
    """Compare the node of this process with the driver.

    Raises:
        WrongNode: it differs.
    """
    if text := differences(wanted, software()):
        raise WrongNode(f"node {platform.node()} has {text}", hint=_HINT)
