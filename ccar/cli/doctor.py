"""`ccar doctor`: what is wrong with a cluster or with this machine, one line each, with the remedy."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ccar.cli.places import Places
from ccar.cluster.address import find_cluster
from ccar.cluster.diagnosis import Check, checks_of_machine, checks_of_survey
from ccar.cluster.jobs import JobServer
from ccar.cluster.node_facts import THIS_MACHINE, machine_facts, probe_folder
from ccar.cluster.questions import ask
from ccar.cluster.token import find_token, token_file
from ccar.errors import CcarError, UserError
from ccar.tracking.address import check_tracking, shown


def examine_machine(places: Places) -> list[Check]:
    """Look at everything that a run on this machine would need."""
    with probe_folder(places.store.address) as probes:
        return [
            *_token_file(),
            _tracking(places.tracking_uri, THIS_MACHINE),
            *checks_of_machine(machine_facts(str(probes))),
        ]


def examine_cluster(places: Places, address: str) -> list[Check]:
    """Look at every node of a cluster from a machine in it, as `ccar run` would use it.

    A cluster that cannot be looked at is a finding, never an error.

    Args:
        places: store and MLflow.
        address: HOST:PORT of its head, or auto.
    """
    return [*_token_file(), *_reached(lambda: cluster_checks(places, address))]


def examine_from_outside(address: str, store: str | None) -> list[Check]:
    """Look at every node of a cluster through its job server, as `ccar submit` would use it; the driver is its head.

    Args:
        address: URL of the dashboard.
        store: folder of trials on the cluster; None: the one that the cluster names.
    """
    return [*_token_file(), *_reached(lambda: _asked(address, store))]


def cluster_checks(places: Places, address: str) -> list[Check]:
    """The checks of a cluster that can be reached.

    Raises:
        CcarError: it cannot.
    """
    found = find_cluster(address)
    from ccar.cluster.survey import survey_cluster  # Ray takes a second to import

    checks = checks_of_survey(survey_cluster(found, places.store.address))
    return [_tracking(places.tracking_uri, THIS_MACHINE if address != "auto" else "head"), *checks]


def _asked(address: str, store: str | None) -> list[Check]:
    answers = ask(JobServer.connect(address), store, ["doctor"])
    return [Check(**answer) for answer in answers]


def _reached(look: Callable[[], list[Check]]) -> list[Check]:
    try:
        return look()
    except CcarError as error:
        return [Check(where="cluster", what="reachable", found=str(error), remedy=error.hint or "see above")]


def _tracking(uri: str, where: str) -> Check:
    try:
        check_tracking(uri)
    except CcarError as error:
        return Check(where=where, what="mlflow", found=str(error), remedy=error.hint)
    return Check(where=where, what="mlflow", found=shown(uri))


def _token_file() -> Iterator[Check]:
    """Whether the cluster's token, if this machine has one, is one, and readable by its owner only."""
    try:
        file, token = token_file(), find_token()
    except UserError as error:
        yield Check(where=THIS_MACHINE, what="token", found=str(error), remedy=error.hint)
        return
    if token is None or file is None:
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    remedy = f"chmod 600 {file}" if mode & 0o077 else None
    yield Check(where=THIS_MACHINE, what="token", found=f"{file}, mode {mode:o}", remedy=remedy)


def checks_text(checks: Sequence[Check]) -> str:
    """One line per check; the wrong ones with what to do."""
    widths = [max(len(getattr(check, name)) for check in checks) for name in ("where", "what")]
    lines = []
    for check in checks:
        mark = "ok   " if check.ok else "WRONG"
        line = f"{mark}  {check.where:<{widths[0]}}  {check.what:<{widths[1]}}  {check.found}"
        lines.append(line if check.ok else f"{line} -> {check.remedy}")
    return "\n".join(lines)


def checks_json(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """The same for scripts."""
    return [{**asdict(check), "ok": check.ok} for check in checks]
