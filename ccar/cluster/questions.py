"""Ask the cluster what only its nodes can see: a short job on the head reads the store and prints the answer.

So a laptop needs one port and one token; the store is never reachable from outside the cluster.
"""

from __future__ import annotations

import json
import shlex
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ccar.cluster.jobs import Job, JobServer
from ccar.cluster.package import packaged
from ccar.cluster.submissions import environment
from ccar.errors import CcarError, UserError

MARK = "ccar-answer "  # begins the line of the job's log that is the answer
SECONDS_TO_ANSWER = 120.0  # an idle head takes 3 s
_SECONDS_BETWEEN_LOOKS = 0.25
_SECONDS_TO_KEEP = 60.0  # Ray itself looks once more at a job that has just ended, and must find it
_PREFIX = "ccar_ask_"


def ask(server: JobServer, store: str | None, question: Sequence[str]) -> Any:  # noqa: ANN401  (any JSON)
    """Run a question on the head of the cluster and return its answer, plain JSON.

    Args:
        server: of the cluster.
        store: the folder of trials that the question is about; None: the one that the cluster names.
        question: words for `ccar.cli.answer`.

    Raises:
        UserError, CcarError: what the question raised there; or there is no answer.
    """
    job_id = f"{_PREFIX}{uuid.uuid4().hex[:12]}"
    with packaged() as folder:
        server.submit(
            job_id,
            shlex.join(["python", "-m", "ccar.cli.answer", *question]),
            folder=folder,
            environment=environment(store),
            metadata={},
        )
    job = _ended(server, job_id)
    answer = answer_in(server.log(job_id), job)
    with suppress(CcarError):  # somebody else may be at it, and it is not what was asked
        _forget_former(server)
    return answer


def answer_line(answer: object) -> str:
    """The line that carries an answer."""
    return MARK + json.dumps({"answer": answer}, allow_nan=False)


def error_line(error: CcarError) -> str:
    """The line that carries an error instead of an answer."""
    users = isinstance(error, UserError)
    return MARK + json.dumps({"error": str(error), "hint": error.hint, "users": users})


def answer_in(log: str, job: Job) -> Any:  # noqa: ANN401  (any JSON)
    """The answer in the log of a job that has ended.

    Raises:
        UserError, CcarError: as the log says; or it holds no answer.
    """
    lines = [line for line in log.splitlines() if line.startswith(MARK)]
    if not lines:
        raise no_answer(log, job)
    content: Mapping[str, Any] = json.loads(lines[-1].removeprefix(MARK))
    if "answer" in content:
        return content["answer"]
    kind = UserError if content["users"] else CcarError
    raise kind(content["error"], hint=content["hint"])


def no_answer(log: str, job: Job) -> CcarError:
    """The error for a job of ours that could not even start properly."""
    last = next((line.strip() for line in reversed(log.splitlines()) if line.strip()), job.message or job.status)
    hint = None
    if "No module named" in log or "not found" in last:
        hint = (
            "`python` on the head is not the one of its Ray: start Ray on all nodes with its environment's "
            "bin folder first on PATH (activate it)"
        )
    return CcarError(f"the cluster could not run ccar: {last}", hint=hint)


def _forget_former(server: JobServer) -> None:
    """Delete the jobs of earlier questions: the list of jobs is for people, too."""
    for job in server.jobs():
        if job.id.startswith(_PREFIX) and job.ended_at and time.time() - job.ended_at > _SECONDS_TO_KEEP:
            server.delete(job.id)


def _ended(server: JobServer, job_id: str) -> Job:
    deadline = time.monotonic() + SECONDS_TO_ANSWER
    while True:
        job = server.job(job_id)
        if job is not None and not job.is_active:
            return job
        if time.monotonic() > deadline:
            server.stop(job_id)
            raise CcarError(
                f"the cluster at {server.address} did not answer within {SECONDS_TO_ANSWER:.0f} s",
                hint="`ccar doctor` says what is wrong with it",
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)
