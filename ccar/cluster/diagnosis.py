"""What is wrong with a cluster, or with this machine, and what to do about it: one line per check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ccar.cluster.node_facts import NodeFacts, differences

MIN_FREE_BYTES = 2**30  # a checkpoint of ResNet-50 has 200 MB; below 5 % Ray does not start tasks either
MIN_SHARED_MEMORY_BYTES = 100 * 2**20  # Ray's object store does not start with less than 75 MB
MAX_CLOCK_SECONDS = 5.0  # claims do not depend on clocks; the times in MLflow and in reports do


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. `remedy`: what to do; None when nothing is wrong."""

    where: str
    what: str
    found: str
    remedy: str | None = None

    @property
    def ok(self) -> bool:
        """Whether this is as it should be."""
        return self.remedy is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A cluster as seen from its driver."""

    driver: NodeFacts
    nodes: Sequence[NodeFacts]
    promised_gpus: Sequence[float]  # per node: how many GPUs Ray hands out there
    clock_seconds: Sequence[float]  # per node: its clock minus the driver's
    written: Sequence[bool]  # per node: whether the driver sees what it wrote into the store
    asks_for_token: bool


def checks_of_survey(survey: Survey) -> Iterator[Check]:
    """All checks of a cluster; the driver's versions are the measure for every node."""
    yield _token(survey.asks_for_token)
    yield from checks_of_machine(survey.driver)
    for node, gpus, clock, written in zip(
        survey.nodes, survey.promised_gpus, survey.clock_seconds, survey.written, strict=True
    ):
        yield _versions(node, survey.driver)
        yield _code(node, survey.driver)
        yield _gpus(node, gpus)
        yield _store(node, written=written)
        yield from _space(node)
        yield _clock(node, clock)


def checks_of_machine(machine: NodeFacts) -> Iterator[Check]:
    """The checks of one machine by itself."""
    yield Check(where=machine.name, what="versions", found=_version_text(machine))
    yield Check(where=machine.name, what="code", found=machine.code[:12])
    yield _gpus(machine, None)
    yield _store(machine, written=True)
    yield from _space(machine)


def _token(asked: bool) -> Check:
    return Check(
        where="cluster",
        what="token",
        found="asked for on every connection" if asked else "not asked for: whoever reaches a port can run code",
        remedy=None if asked else "start Ray on every node with RAY_AUTH_MODE=token and the same token",
    )


def _version_text(machine: NodeFacts) -> str:
    return ", ".join([f"python {machine.python}", *(f"{name} {v}" for name, v in machine.packages.items())])


def _versions(node: NodeFacts, driver: NodeFacts) -> Check:
    wanted, there = ({"python": facts.python, **facts.packages} for facts in (driver, node))
    differs = differences(wanted, there)
    if not differs:
        return Check(where=node.name, what="versions", found=_version_text(node))
    return Check(
        where=node.name,
        what="versions",
        found=differs,
        remedy="install the same Python and the same requirements.lock on every node",
    )


def _code(node: NodeFacts, driver: NodeFacts) -> Check:
    if node.code == driver.code:
        return Check(where=node.name, what="code", found=node.code[:12])
    return Check(
        where=node.name,
        what="code",
        found=f"{node.code[:12]} instead of {driver.code[:12]}: its workers would refuse every trial",
        remedy="install the driver's ccar there",
    )


def _gpus(node: NodeFacts, promised: float | None) -> Check:
    if node.gpus is None:
        remedy = "install a driver of NVIDIA's that is new enough for this torch"
        return Check(where=node.name, what="gpus", found=node.gpu_error or "", remedy=remedy)
    found = ", ".join(node.gpus) or "none"
    if promised is None or len(node.gpus) == promised:
        return Check(where=node.name, what="gpus", found=found)
    return Check(
        where=node.name,
        what="gpus",
        found=f"Ray hands out {promised:g}, torch sees {len(node.gpus)}: {found}",
        remedy="start Ray there with as many --num-gpus as torch sees; if it sees too few, look at `nvidia-smi`",
    )


def _store(node: NodeFacts, *, written: bool) -> Check:
    remedy = (
        "give all nodes the same folder, writable, with hard links and fsync (NFS 4), "
        "or the same bucket with the variables that lead to it: --store"
    )
    if node.store_error is not None:
        return Check(where=node.name, what="store", found=node.store_error, remedy=remedy)
    if not (node.sees_store_of_driver and written):
        found = "it is another one than the driver's, under the same name"
        return Check(where=node.name, what="store", found=found, remedy=remedy)
    return Check(where=node.name, what="store", found="writable")


def _space(node: NodeFacts) -> Iterator[Check]:
    places = {"the store": node.free_store_bytes, "/tmp": node.free_temporary_bytes}
    free = {place: num_bytes for place, num_bytes in places.items() if num_bytes is not None}
    yield Check(
        where=node.name,
        what="disk",
        found=", ".join(f"{_gib(num_bytes)} free in {place}" for place, num_bytes in free.items()),
        remedy=None if min(free.values()) >= MIN_FREE_BYTES else f"make room: at least {_gib(MIN_FREE_BYTES)} each",
    )
    shared = node.free_shared_memory_bytes
    if shared is not None:
        least = f"{MIN_SHARED_MEMORY_BYTES >> 20} MiB"
        remedy = f"give it at least {least}: `docker run --shm-size=1g`, or an emptyDir of medium Memory"
        yield Check(
            where=node.name,
            what="shm",
            found=f"{_gib(shared)} free",
            remedy=None if shared >= MIN_SHARED_MEMORY_BYTES else remedy,
        )


def _clock(node: NodeFacts, seconds: float) -> Check:
    return Check(
        where=node.name,
        what="clock",
        found=f"{seconds:+.1f} s from the driver's",
        remedy=None if abs(seconds) <= MAX_CLOCK_SECONDS else "let chrony or systemd-timesyncd set the clock",
    )


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"
