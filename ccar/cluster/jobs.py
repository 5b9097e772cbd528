"""The job server of a Ray cluster, over HTTP: all that a laptop needs is its address and the cluster's token."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ccar.cluster.token import TOKEN_HINT, find_token
from ccar.errors import CcarError, UserError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

JobStatus = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]

SECONDS_TO_CONNECT = 4.0
SECONDS_TO_ANSWER = 10.0  # with the first: a wrong address or token is told within 15 s
SECONDS_TO_UPLOAD = 120.0  # the package goes up on one request, the job server starts a process on another
STOP_SECONDS = 30  # from SIGTERM to SIGKILL; Ray's own 3 s are too few to end a study's trials cleanly


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the job server knows it. Its record ends with the cluster."""

    id: str
    status: JobStatus
    metadata: Mapping[str, str]
    message: str  # Ray's words on the status; of a failed job with the end of its log
    exit_code: int | None  # None unless the job has ended by itself
    submitted_at: float  # Unix time
    ended_at: float | None

    @property
    def is_active(self) -> bool:
        """Whether it has yet to end."""
        return self.status in ("PENDING", "RUNNING")


class JobServer:
    """Submits, lists, reads and stops jobs."""

    def __init__(self, client: JobSubmissionClient, address: str) -> None:
        self._client = client
        self.address = address

    @classmethod
    def connect(cls, address: str) -> JobServer:
        """Reach the job server, and prove that it takes our token.

        Args:
            address: of the cluster's dashboard, e.g. `http://127.0.0.1:8265`; http unless it says otherwise.

        Raises:
            UserError: nobody answers there, or the token is missing or wrong; told within 15 s.
        """
        url = _url(address)
        os.environ["RAY_API_SERVER_ADDRESS"] = url  # else RAY_ADDRESS, where it is set, would win over `address`
        if find_token() is not None:
            os.environ.setdefault("RAY_AUTH_MODE", "token")  # without it Ray leaves the token at home
        client_class = _client_class()
        try:
            with _told_as_ours(url):
                return cls(client_class(url), url)
        except UserError:
            raise
        except CcarError as error:  # something answers, but no job server
            raise _unreachable(url) from error

    def submit(
        self,
        job_id: str,
        entrypoint: str,
        *,
        folder: Path,
        environment: Mapping[str, str],
        metadata: Mapping[str, str],
    ) -> bool:
        """Start a job, unless the cluster has or had one of this id: of several who try, one succeeds.

        Args:
            job_id: of the new job.
            entrypoint: the shell command; it runs on the head, in a copy of `folder`.
            folder: what the job and its workers find in their working directory and import from.
            environment: variables for the job and its workers; never a secret, since every user can read them.
            metadata: kept with the job.

        Returns:
            False when there is such a job, which may be ours: an answer can get lost.
        """
        environment = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), **environment}
        with _told_as_ours(self.address):
            try:
                self._client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=job_id,
                    runtime_env={"working_dir": str(folder), "env_vars": environment},
                    metadata=dict(metadata),
                )
            except Exception:
                if self.job(job_id) is None:
                    raise
                return False
        return True

    def jobs(self) -> list[Job]:
        """All jobs that were submitted since the cluster started, oldest first."""
        with _told_as_ours(self.address):
            # Without a start are the remains of a job that was deleted while Ray still looked after it.
            listed = [details for details in self._client.list_jobs() if details.submission_id and details.start_time]
            found = [_job(details) for details in listed]
        return sorted(found, key=lambda job: job.submitted_at)

    def job(self, job_id: str) -> Job | None:
        """One job, or None when the cluster does not know it."""
        return next((job for job in self.jobs() if job.id == job_id), None)

    def log(self, job_id: str) -> str:
        """All that the job has printed so far."""
        with _told_as_ours(self.address):
            return str(self._client.get_job_logs(job_id))

    def follow(self, job_id: str) -> Iterator[str]:
        """What the job has printed and prints, piece by piece, until it ends."""
        with _told_as_ours(self.address), asyncio.Runner() as runner:
            pieces = self._client.tail_job_logs(job_id)

            async def next_piece() -> str | None:
                return await anext(pieces, None)

            while (piece := runner.run(next_piece())) is not None:
                yield piece

    def stop(self, job_id: str) -> None:
        """Send the job SIGTERM, and SIGKILL after `STOP_SECONDS`; returns at once."""
        with _told_as_ours(self.address):
            self._client.stop_job(job_id)

    def delete(self, job_id: str) -> None:
        """Forget a job that has ended."""
        with _told_as_ours(self.address):
            self._client.delete_job(job_id)


def _url(address: str) -> str:
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
        usable = usable and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise UserError(
            f"cannot use the address {address!r}",
            hint="expected that of the cluster's dashboard, e.g. http://127.0.0.1:8265",
        )
    return url


def _client_class() -> type[JobSubmissionClient]:
    from ray.job_submission import JobSubmissionClient  # Ray takes a second to import

    for handler in logging.getLogger("ray").handlers:  # not the level: its modules set their own
        handler.setLevel(logging.WARNING)

    class WithTimeouts(JobSubmissionClient):  # type: ignore[misc]  # Ray ships no types
        """Ray's client waits for ever."""

        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:  # noqa: ANN401  (requests')
            slow = method in ("PUT", "POST")
            timeout = (SECONDS_TO_CONNECT, SECONDS_TO_UPLOAD if slow else SECONDS_TO_ANSWER)
            return super()._do_request(method, endpoint, **{"timeout": timeout, **options})

    return WithTimeouts


@contextmanager
def _told_as_ours(address: str) -> Iterator[None]:
    """Turn what Ray and its HTTP library raise into our errors."""
    import aiohttp
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise UserError(_refusal(address, str(error)), hint=TOKEN_HINT) from error
    except (requests.ConnectionError, requests.Timeout, ConnectionError, aiohttp.ClientConnectionError) as error:
        raise _unreachable(address) from error
    except (requests.RequestException, aiohttp.ClientError, RuntimeError, ValueError, KeyError) as error:
        lines = [line for line in str(error).strip().splitlines() if line.strip(" .")]
        raise CcarError(f"the job server at {address} did not do it: {lines[-1] if lines else error!r}") from error


def _unreachable(address: str) -> UserError:
    return UserError(
        f"no Ray cluster answers at {address}",
        hint="expected is the address of its dashboard, e.g. http://127.0.0.1:8265; a dashboard that listens "
        "on the head only is reached through `ssh -N -L 8265:127.0.0.1:8265 HEAD`",
    )


def _refusal(address: str, words: str) -> str:
    """What is wrong with our token, from Ray's words on it."""
    if words.startswith("Authentication required"):
        return f"the cluster at {address} asks for a token, and this machine has none"
    if words.startswith("Authentication failed"):
        return f"the cluster at {address} does not accept the token of this machine"
    return f"this machine's token cannot be read: {words.partition('. ')[0]}"


def _job(details: Any) -> Job:  # noqa: ANN401  (Ray ships no types)
    return Job(
        id=details.submission_id,
        status=details.status.value,
        metadata=details.metadata or {},
        message=details.message or "",
        exit_code=details.driver_exit_code,
        submitted_at=details.start_time / 1000,
        ended_at=details.end_time / 1000 if details.end_time else None,
    )
