"""`ccar pause`, `ccar resume`: a submitted study gives its devices back and waits; its driver stays."""

from __future__ import annotations

from ccar.cluster.jobs import JobServer
from ccar.cluster.questions import ask
from ccar.cluster.submissions import find
from ccar.errors import UserError


def pause_submission(address: str, wanted: str) -> str:
    """Ask a study to pause; returns its id.

    Args:
        address: of the cluster's job server.
        wanted: an id or the name of a study.

    Raises:
        UserError: it is not at work.
    """
    return _tell(address, wanted, "pause")


def resume_submission(address: str, wanted: str) -> str:
    """Let a study that was paused go on; returns its id. Arguments and errors as of `pause_submission`."""
    return _tell(address, wanted, "resume")


def _tell(address: str, wanted: str, what: str) -> str:
    server = JobServer.connect(address)
    submission = find(server, wanted)
    if not submission.job.is_active:
        raise UserError(f"{submission.id} has ended", hint="submit it again to go on")
    ask(server, submission.store, [what, submission.driver])
    return submission.id
