"""What the dashboard of a Ray cluster tells over HTTP, without importing Ray."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

SECONDS_TO_ANSWER = 5.0


class NoAnswer(Exception):
    """The dashboard did not tell; the message says why. Never leaves `ccar.cluster`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LivingNode:
    """A node that Ray takes for alive."""

    id: str
    address: str  # IP
    is_head: bool
    cpus: float
    gpus: float


def living_nodes(dashboard: str, token: str | None) -> tuple[LivingNode, ...]:
    """The nodes of the cluster, the head first.

    Raises:
        NoAnswer: nobody answers there, or not to this token.
    """
    found = _get(
        f"{dashboard}/api/v0/nodes?limit=10000&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE", token
    )
    nodes = [_node(row) for row in found["data"]["result"]["result"]]
    return tuple(sorted(nodes, key=lambda node: (not node.is_head, node.address, node.id)))


def _node(row: dict[str, Any]) -> LivingNode:
    resources = row["resources_total"]
    return LivingNode(
        id=row["node_id"],
        address=row["node_ip"],
        is_head=row["is_head_node"],
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
    )


def _get(url: str, token: str | None) -> Any:  # noqa: ANN401  (JSON)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS_TO_ANSWER) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        reason = {401: "it asks for a token", 403: "it does not accept this token"}.get(error.code, str(error))
        raise NoAnswer(reason) from error
    except (OSError, ValueError) as error:
        raise NoAnswer(str(getattr(error, "reason", error))) from error
