"""Look at every node of a running Ray cluster, from a driver in it."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ccar.cluster.diagnosis import Survey
from ccar.cluster.node_facts import NodeFacts, gather_facts, machine_facts, may_have_gpus, probe_folder
from ccar.cluster.ray_session import ray_session
from ccar.errors import ClusterError
from ccar.store.folder import Folder

SECONDS_TO_ANSWER = 90.0  # a process is started on every node; torch is asked only where there may be GPUs

_SECONDS_TO_APPEAR = 10.0  # network file systems may show a folder as it was some seconds ago


def survey_cluster(address: str, store: str) -> Survey:
    """Ask every living node, all at once.

    Args:
        address: HOST:PORT of the head of a cluster that answers.
        store: address of the store, the same for all; a folder need not exist yet.

    Raises:
        UserError: Ray does not get in there.
        ClusterError: some node did not answer.
    """
    with ray_session(address), probe_folder(store) as probes:
        nodes = living_nodes()
        inspector: Any = ray.remote(num_cpus=0)(_Inspector)  # waits for no trial to end
        actors = [inspector.options(scheduling_strategy=on_node(node)).remote() for node in nodes]
        names = [name_of(node, number) for number, node in enumerate(nodes)]
        facts: list[NodeFacts] = answers(
            [actor.facts.remote(name, str(probes)) for actor, name in zip(actors, names, strict=True)], names
        )
        return Survey(
            driver=machine_facts(str(probes)),
            nodes=facts,
            promised_gpus=[node["Resources"].get("GPU", 0.0) for node in nodes],
            clock_seconds=[_clock_difference(actor, name) for actor, name in zip(actors, names, strict=True)],
            written=[not fact.store_error and _appears(probes, fact.name) for fact in facts],
            asks_for_token=all(answers([actor.asks_for_token.remote() for actor in actors], names)),
        )


def living_nodes() -> list[dict[str, Any]]:
    """The living nodes as Ray describes them, the head first."""
    return sorted(
        (node for node in ray.nodes() if node["Alive"]),
        key=lambda node: ("node:__internal_head__" not in node["Resources"], node["NodeManagerAddress"]),
    )


def on_node(node: dict[str, Any]) -> NodeAffinitySchedulingStrategy:
    """Says to Ray: there and nowhere else."""
    return NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)


class _Inspector:
    """Lives on one node for the time of a survey."""

    def facts(self, name: str, probes: str) -> NodeFacts:
        return gather_facts(name, probes, has_gpus=may_have_gpus())

    def time(self) -> float:
        return time.time()

    def asks_for_token(self) -> bool:
        """Whether the raylet that started us does: we have its environment, not the driver's."""
        return bool(is_token_auth_enabled())


def _clock_difference(actor: Any, name: str) -> float:  # noqa: ANN401  (Ray ships no types)
    """The clock of an inspector's node minus ours, in seconds, as exactly as a message takes."""
    before = time.time()
    [there] = answers([actor.time.remote()], [name])
    return float(there - (before + time.time()) / 2)


def answers(calls: list[Any], names: list[str]) -> list[Any]:
    """What nodes answer to calls.

    Args:
        calls: one per node.
        names: of the nodes.

    Raises:
        ClusterError: some node did not answer.
    """
    _, missing = ray.wait(calls, num_returns=len(calls), timeout=SECONDS_TO_ANSWER)
    if missing:
        silent = ", ".join(name for call, name in zip(calls, names, strict=True) if call in missing)
        raise ClusterError(
            f"no answer within {SECONDS_TO_ANSWER:.0f} s from {silent}",
            hint="is the node alive, and do its nodes reach each other on all ports?",
        )
    try:
        return list(ray.get(calls))
    except ray.exceptions.RayError as error:
        raise ClusterError(f"a node could not be looked at: {str(error).strip().splitlines()[-1]}") from error


def name_of(node: dict[str, Any], number: int) -> str:
    """How people tell this node from the others."""
    kind = "head" if "node:__internal_head__" in node["Resources"] else f"node-{number}"
    return f"{kind} {node['NodeManagerAddress']}"


def _appears(folder: Folder, name: str) -> bool:
    deadline = time.monotonic() + _SECONDS_TO_APPEAR
    while not folder.exists(name):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
