"""`ccar status`: what the job server says of submitted studies, and how far the store says they are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ccar.cluster.jobs import Job, JobServer
from ccar.cluster.questions import ask, no_answer
from ccar.cluster.submissions import Submission, find, submissions
from ccar.errors import CcarError

Row = dict[str, object]

# Exit codes of `ccar run`.
_ENDS = {2: "refused", 130: "interrupted"}


def status_of(address: str, wanted: str | None) -> tuple[list[Row], list[str]]:
    """A row for each submission, oldest first, and what could not be found out.

    Args:
        address: of the cluster's job server.
        wanted: an id or the name of a study; None for all.
    """
    server = JobServer.connect(address)
    found = [find(server, wanted)] if wanted is not None else submissions(server)
    progress: dict[tuple[str | None, str], Mapping[str, object]] = {}
    drivers: dict[str, Mapping[str, object]] = {}
    trouble = []
    for store in dict.fromkeys(submission.store for submission in found):
        try:
            studies = dict.fromkeys(submission.study for submission in found if submission.store == store)
            standing = ask(server, store, ["standing", *studies])
        except CcarError as error:
            trouble.append(f"how far the trials are is not known: {error.with_hint}")
        else:
            progress |= {(store, str(run["study"])): run for run in standing["runs"]}
            drivers |= standing["drivers"]
    rows = [_row(server, one, progress.get((one.store, one.study), {}), drivers.get(one.driver, {})) for one in found]
    return rows, trouble


def state_of(job: Job) -> str:
    """Where a job stands, in a word or two."""
    match job.status:
        case "PENDING":
            return "starting"
        case "RUNNING":
            return "running"
        case "SUCCEEDED":
            return "done"
        case "STOPPED":
            return "stopped"
        case "FAILED":
            return _ENDS.get(job.exit_code or 0, "failed")


def _row(server: JobServer, submission: Submission, counts: Mapping[str, object], driver: Mapping[str, object]) -> Row:
    if not submission.job.is_active:
        driver = {}  # it may be taken for alive a while longer
    return {
        "id": submission.id,
        "state": driver.get("state", state_of(submission.job)),
        "trials": counts.get("trials", ""),
        "finished": counts.get("finished", ""),
        "failed": counts.get("failed", ""),
        "to go": counts.get("to go", ""),
        "under way": driver.get("running", 0),
        "submitted": datetime.fromtimestamp(submission.job.submitted_at).astimezone().isoformat(" ", "seconds"),
        "why": driver.get("why") or _why(server, submission, counts.get("failed")),
    }


def _why(server: JobServer, submission: Submission, failed_trials: object) -> str:
    """What a failure comes from: its trials, or the last words of the driver."""
    if submission.job.status != "FAILED":
        return ""
    if failed_trials:
        return f"trials failed; `ccar logs {submission.id}` says why"
    return str(no_answer(server.log(submission.id), submission.job)).partition(": ")[2]
