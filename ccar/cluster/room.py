"""How many trials a cluster has room for, now, and how its autoscaler, where it has one, hears that more would run.

An autoscaler starts nodes for what waits. Trials that wait are not handed to Tune, where they would count as under way
and claim what another study's are entitled to; the autoscaler sees a placement group in the place of each.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from ccar.errors import UserError
from ccar.study.definition import Resources
from ccar.study.plan import Capacity

MOST_ASKED_FOR = 50  # trials; Ray looks at each placement group that waits again and again
SECONDS_TO_REPORT = 15.0  # an autoscaler says something for the first time some seconds after its cluster has started
SECONDS_TO_BEGIN = 60.0  # it looks every 5 s, and what it then asks of a cloud or of Kubernetes shows a little later

_SECONDS_BETWEEN_LOOKS = 1.0
# Of a head that does not answer in time. The next look may find it well; where it has gone, Ray ends this process.
_HICCUPS = (ray.exceptions.RayError, OSError, RuntimeError)
_NO_TYPE = re.compile("node_[0-9a-f]+")  # what Ray calls the type of a node that no autoscaler has started


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """What the cluster's autoscaler reports of itself."""

    starts_nodes: bool  # False: it only watches those that others have started, as in every cluster without another one
    num_coming: int  # nodes on their way


_NONE = Autoscaler(starts_nodes=False, num_coming=0)


def autoscaler() -> Autoscaler | None:
    """What it has reported last; None: nothing yet. How large the cluster may become, Ray 2.60 tells nobody."""
    # Imported here: Ray on this machine alone has none.
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.autoscaler.v2.sdk import get_cluster_status
    from ray.autoscaler.v2.utils import is_autoscaler_v2
    from ray.experimental.internal_kv import _internal_kv_get

    if is_autoscaler_v2(fetch_from_server=True):
        status = get_cluster_status(ray.get_runtime_context().gcs_address)
        types = {node.ray_node_type_name for node in (*status.active_nodes, *status.idle_nodes)}
        coming = len(status.pending_nodes) + sum(launch.count for launch in status.pending_launches)
    else:
        said = _internal_kv_get(DEBUG_AUTOSCALING_STATUS)
        report: dict[str, Any] | None = json.loads(said).get("autoscaler_report") if said else None
        if not report:
            return None
        types = set(report["active_nodes"])
        coming = len(report["pending_nodes"]) + sum(report["pending_launches"].values())
    if not types:
        return None
    return Autoscaler(starts_nodes=any(not _NO_TYPE.fullmatch(name) for name in types), num_coming=coming)


class Room:
    """Follows the cluster to which this process is connected."""

    def __init__(self, resources: Resources, *, is_fixed: bool) -> None:
        """Look for the first time.

        Args:
            resources: what each trial takes; `fit` changes it.
            is_fixed: whether nothing can join: Ray of this process, on this machine.
        """
        self.resources = resources
        self._is_fixed = is_fixed
        self._autoscaler = _NONE if is_fixed else None
        self._asked: list[PlacementGroup] = []
        self._look()

    def follow(self, num_waiting: Callable[[], int]) -> int:
        """How many trials the living nodes hold at once, as far as their head answers.

        Looks once a second, however often it is called.

        Args:
            num_waiting: says how many trials would run now if there were room.
        """
        if not self._is_fixed and time.monotonic() >= self._next_look:
            with suppress(*_HICCUPS):
                self._look()
                self._autoscaler = self._autoscaler or autoscaler()
                if self._autoscaler is not None and self._autoscaler.starts_nodes:
                    self._ask_for(num_waiting())
        return self.slots

    @property
    def what(self) -> str:
        """What each trial takes, in words."""
        return f"{self.resources.cpus:g} CPUs and {self.resources.gpu_share:g} GPUs"

    def fit(self, resources: Resources) -> None:
        """Each trial takes something else from now on."""
        self.resources = resources
        self._look()

    def wait(self, num_waiting: Callable[[], int], is_over: Callable[[], bool], say: Callable[[str], None]) -> bool:
        """Wait until there is room for a trial, where an autoscaler can make it.

        Args:
            num_waiting: says how many trials would run now if there were room.
            is_over: whether to wait no longer.
            say: is told, once, what is waited for.

        Returns:
            Whether there is room; False: it was over before.

        Raises:
            UserError: there is none, and nobody makes any: Tune would wait for it without a word.
        """
        began = time.monotonic()
        while self.slots == 0 and not is_over():
            seen = _NONE if self._is_fixed else autoscaler()
            starts_nodes = seen is not None and seen.starts_nodes
            if starts_nodes:
                if not self._asked:
                    say(f"a node with {self.what}; the cluster's autoscaler is asked for it")
                self._ask_for(num_waiting())
            if seen is not None and seen.num_coming:
                began = time.monotonic()
            if time.monotonic() - began >= _patience(seen):
                raise UserError(
                    f"no node has the {self.what} that each trial asks for"
                    + (", and the cluster's autoscaler starts none" if starts_nodes else ""),
                    hint="lower `resources` in the study file, or give the --address of a larger cluster",
                )
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            self._look()
        self._ask_for(0)
        return self.slots > 0

    def _look(self) -> None:
        self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        living = (node["Resources"] for node in ray.nodes() if node["Alive"])
        capacities = (Capacity(cpus=has.get("CPU", 0), gpus=has.get("GPU", 0)) for has in living)
        self.slots = sum(capacity.slots(self.resources) for capacity in capacities)

    def _ask_for(self, count: int) -> None:
        """Let the autoscaler see that so many trials wait, and no others.

        As soon as one of them has found room, all are taken back: it is for trials, of this study or of another one.
        """
        if any(placement_group_table(group).get("state") == "CREATED" for group in self._asked):
            count = 0
        asked = {"CPU": self.resources.cpus, "GPU": self.resources.gpu_share}
        bundle = {name: amount for name, amount in asked.items() if amount}
        while len(self._asked) > count:
            remove_placement_group(self._asked.pop())
        while len(self._asked) < min(count, MOST_ASKED_FOR):
            self._asked.append(placement_group([bundle]))


def _patience(seen: Autoscaler | None) -> float:
    """For how many seconds to wait for a first sign of a node to come."""
    if seen is None:
        return SECONDS_TO_REPORT
    return SECONDS_TO_BEGIN if seen.starts_nodes else 0.0
