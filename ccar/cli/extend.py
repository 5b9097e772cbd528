"""`ccar extend`: more omegas or seeds for a study that was submitted, from any machine."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ccar.cli.stop import wait_until_ended
from ccar.cluster.jobs import JobServer
from ccar.cluster.package import STUDY_FILE
from ccar.cluster.questions import ask
from ccar.cluster.submissions import Request, Submission, digest_of_text, find, submit
from ccar.errors import CcarError, UserError
from ccar.study.definition import study_of_text
from ccar.study.extension import extended


def extend_submission(address: str, wanted: str, omegas: Sequence[float], seeds: str | None) -> Submission:
    """Submit a study once more, with more in it; what is under way of it ends first and goes on in the new one.

    Args:
        address: of the cluster's job server.
        wanted: an id or the name of a study.
        omegas: to add.
        seeds: how many to add, as `+2`.

    Raises:
        UserError: nothing would be added, or it cannot be; or the store knows the study by another file than the one
            that was submitted, which would be lost.
        CcarError: what is under way does not end; or it has ended, and the study could not be submitted.
    """
    num_seeds = _number_of(seeds)
    if not omegas and not num_seeds:
        raise UserError("nothing to add", hint="for example --omega 0.9, or --seeds +2")
    server = JobServer.connect(address)
    submission = find(server, wanted)
    before = study_of_text(ask(server, submission.store, ["definition", submission.study]), STUDY_FILE)
    if digest_of_text(before.text) != submission.text_digest:
        raise UserError(
            f"{submission.id} has not begun yet, or the study was run with another file since",
            hint=f"`ccar logs {submission.id}` says when it begins; then try again, or edit your file and submit it",
        )
    after = study_of_text(extended(before, omegas=omegas, num_seeds=num_seeds), STUDY_FILE)
    request = Request(study=after.name, text=after.text, store=submission.store, options=submission.options)
    if not submission.job.is_active:
        return submit(server, request)[0]
    server.stop(submission.id)  # what cannot be packed or reached was told when the store was asked
    try:
        if wait_until_ended(server, submission) is None:
            raise CcarError(f"it does not end; `ccar logs {submission.id}` may say why")
        return submit(server, request)[0]
    except CcarError as error:
        raise CcarError(
            f"{submission.id} was told to stop, and the larger study was not submitted: {error}",
            hint="no epoch is lost: the same `ccar extend` again, or `ccar submit` with the former file, goes on",
        ) from error


def _number_of(seeds: str | None) -> int:
    if seeds is None:
        return 0
    if not re.fullmatch(r"\+[1-9][0-9]{0,3}", seeds):
        raise UserError(f"cannot add the seeds {seeds!r}", hint="expected how many more, e.g. --seeds +2")
    return int(seeds)
