"""Where MLflow's own pages show studies and trials; asked of its server, without importing MLflow."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ccar.errors import TrackingError
from ccar.tracking.address import api_request, shown, without_credentials

_SECONDS_TO_ANSWER = 5.0
_PER_PAGE = 1000


class StudyPage(NamedTuple):
    """A study as MLflow has it. `status` is MLflow's word; `begun` and `ended` are Unix time in seconds.

    `progress` says how many trials have ended, of how many; it and what comes before and after it is "" where it was
    not logged: what is `best`, and the `hours` of training, are so once a run of the study has ended.
    """

    name: str
    question: str
    status: str
    progress: str
    best: str
    hours: str
    begun: float
    ended: float | None
    address: str


@contextmanager
def _understood() -> Iterator[None]:
    """Turn what an answer lacks that is a proxy's, or that of another MLflow, into our error."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise TrackingError("MLflow's answer was not understood") from error


@_understood()
def study_pages(server: str) -> list[StudyPage]:
    """The studies that were logged there, by ccar on whatever machine: the latest first, a thousand at most.

    Args:
        server: address of an MLflow server.

    Raises:
        TrackingError: nobody answers there, or not as MLflow would.
    """
    address, credentials = without_credentials(server.rstrip("/"))
    experiments, token = list[str](), ""
    while True:
        wanted = {"max_results": _PER_PAGE, "view_type": "ACTIVE_ONLY", "page_token": token}
        page = _ask(address, credentials, "experiments/search", wanted)
        experiments += [experiment["experiment_id"] for experiment in page.get("experiments", [])]
        token = page.get("next_page_token", "")
        if not token:
            break
    wanted = {"experiment_ids": experiments, "filter": "tags.`ccar.kind` = 'study'", "max_results": _PER_PAGE}
    runs = _ask(address, credentials, "runs/search", wanted).get("runs", []) if experiments else []  # the latest first
    return [_study_page(address, run) for run in runs]


def _study_page(address: str, run: Any) -> StudyPage:  # noqa: ANN401  (JSON)
    info = run["info"]
    tags = {tag["key"]: tag.get("value", "") for tag in run.get("data", {}).get("tags", [])}
    question, progress, best, hours = (
        tags.get(f"ccar.{name}", "") for name in ("question", "progress", "best", "hours")
    )
    return StudyPage(
        name=info.get("run_name", ""),
        question=question,
        status=info["status"],
        progress=progress,
        best=best,
        hours=hours,
        begun=int(info["start_time"]) / 1e3,
        ended=int(info["end_time"]) / 1e3 if "end_time" in info else None,
        address=f"{address}/#/experiments/{urllib.parse.quote(info['experiment_id'], safe='')}",
    )


@_understood()
def run_page(server: str, study: str, trial_key: str) -> str:
    """The address of the page of a trial's run.

    Args:
        server: address of an MLflow server.
        study: name of the study.
        trial_key: of the trial.

    Raises:
        TrackingError: nobody answers there, or not as MLflow would; or the server does not have the run.
    """
    address, credentials = without_credentials(server.rstrip("/"))
    name = urllib.parse.quote(study, safe="")
    experiment = _ask(address, credentials, f"experiments/get-by-name?experiment_name={name}")["experiment"]
    wanted = {
        "experiment_ids": [experiment["experiment_id"]],
        "filter": f"tags.`ccar.trial_key` = '{trial_key}'",
        "max_results": 1,
    }
    runs = _ask(address, credentials, "runs/search", wanted).get("runs", [])
    if not runs:
        raise TrackingError("MLflow does not have this trial yet", hint="`ccar sync` delivers it")
    ids = (urllib.parse.quote(part, safe="") for part in (experiment["experiment_id"], runs[0]["info"]["run_id"]))
    return "{}/#/experiments/{}/runs/{}".format(address, *ids)


def _ask(address: str, credentials: str | None, path: str, body: object = None) -> Any:  # noqa: ANN401  (JSON)
    try:
        request = api_request(address, credentials, path, body)
        with urllib.request.urlopen(request, timeout=_SECONDS_TO_ANSWER) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            code = error.code
        reason = "does not have this study yet" if code == 404 else f"answered {code}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = f"does not answer: {getattr(error, 'reason', error)}"
    raise TrackingError(f"MLflow at {shown(address)} {reason}", hint="the trial is in the store all the same")
