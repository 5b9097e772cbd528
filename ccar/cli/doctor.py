"""`ccar doctor`: what is wrong with a cluster or with this machine, one line each, with the remedy."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ccar.cli.places import Places
from ccar.cluster.address import check_address
from ccar.cluster.diagnosis import Check, checks_of_machine, checks_of_survey
from ccar.cluster.node_facts import machine_facts, probe_folder
from ccar.cluster.token import find_token, token_file
from ccar.errors import CcarError
from ccar.tracking.address import check_tracking, shown


def examine(places: Places, address: str | None) -> list[Check]:
    """Look at everything that a run would need; what cannot be looked at is a finding, never an error.

    Args:
        places: store and MLflow.
        address: of a Ray cluster; None: this machine alone.
    """
    checks = [_tracking(places.tracking_uri), *_token_file()]
    if address is None:
        with probe_folder(places.store.root) as probes:
            return [*checks, *checks_of_machine(machine_facts(probes))]
    try:
        check_address(address)
        from ccar.cluster.survey import survey_cluster

        return [*checks, *checks_of_survey(survey_cluster(address, places.store.root))]
    except CcarError as error:
        return [*checks, Check(where="cluster", what="reachable", found=str(error), remedy=error.hint or "see above")]


def _tracking(uri: str) -> Check:
    try:
        check_tracking(uri)
    except CcarError as error:
        return Check(where="this machine", what="mlflow", found=str(error), remedy=error.hint)
    return Check(where="this machine", what="mlflow", found=shown(uri))


def _token_file() -> Iterator[Check]:
    """Whether the cluster's token, if this machine has one, is readable by its owner only."""
    file = token_file()
    if find_token() is None or file is None:
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    remedy = f"chmod 600 {file}" if mode & 0o077 else None
    yield Check(where="this machine", what="token", found=f"{file}, mode {mode:o}", remedy=remedy)


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
