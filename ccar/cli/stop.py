"""`ccar stop`: SIGTERM to the driver of a submitted study, and wait until it has ended."""

from __future__ import annotations

import time

from ccar.cli.status import state_of
from ccar.cluster.jobs import STOP_SECONDS, JobServer
from ccar.cluster.submissions import Submission, find

SECONDS_TO_END = STOP_SECONDS + 15.0  # after SIGKILL, Ray needs a moment to notice
_SECONDS_BETWEEN_LOOKS = 0.5


def stop_submission(address: str, wanted: str) -> tuple[bool, str]:
    """End a study.

    Returns:
        Whether it has ended, and a sentence that says so.
    """
    server = JobServer.connect(address)
    submission = find(server, wanted)
    if not submission.job.is_active:
        return True, f"{submission.id} had ended before: {state_of(submission.job)}"
    server.stop(submission.id)
    ended = wait_until_ended(server, submission)
    if ended is None:
        return False, f"{submission.id} has not ended within {SECONDS_TO_END:.0f} s; `ccar logs` may say why"
    return True, f"{ended.id} {state_of(ended.job)}"


def wait_until_ended(server: JobServer, submission: Submission) -> Submission | None:
    """The submission after its end, or None when the end does not come."""
    deadline = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < deadline:
        now = find(server, submission.id)
        if not now.job.is_active:
            return now
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return None
