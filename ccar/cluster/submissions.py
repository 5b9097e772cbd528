"""Studies as jobs of a cluster: `digits-lt_2` is the second submission of the study `digits-lt` to it.

The name of a job can be used only once, and the job server sees to that. So the next number is a lock: of several
who submit a study at the same time one creates the job, and the others find it.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from ccar.cluster.fair_share import APART
from ccar.cluster.jobs import Job, JobServer
from ccar.cluster.package import STUDY_FILE, packaged
from ccar.errors import UserError
from ccar.store.key import code_digest

DRIVER_NAME = "CCAR_SUBMISSION"  # the variable in which a driver finds its name

_ID = re.compile(r"(?P<study>[a-z0-9-]+)_(?P<number>[1-9][0-9]*)")  # a study's name has no underscore
_STORE_MISSING = "the cluster does not say where its store is; start its head with CCAR_STORE=FOLDER, or use --store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A study that was submitted."""

    study: str
    version: str  # digest of what was submitted: study file and training code
    text_digest: str  # of the study file alone
    store: str | None  # folder of trials on the cluster; None: the one that the cluster names
    options: tuple[str, ...]  # of `ccar run`
    job: Job

    @property
    def id(self) -> str:
        """The id that commands take."""
        return self.job.id

    @property
    def driver(self) -> str:
        """The name of its driver among all that work with its store."""
        return self.job.metadata.get("ccar_driver", self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A study to submit."""

    study: str
    text: str  # the study file
    store: str | None = None  # folder of trials on the cluster; None: the one that the cluster names
    options: Sequence[str] = ()  # of `ccar run`

    @property
    def version(self) -> str:
        """Equal for requests that would train the same."""
        return digest_of_text(f"{self.text}\0{code_digest()}")


def digest_of_text(text: str) -> str:
    """By which a submission is told from one of another study file."""
    return hashlib.sha256(text.encode()).hexdigest()


def submit(server: JobServer, request: Request) -> tuple[Submission, bool]:
    """Submit a study, unless it is under way.

    Returns:
        The submission, and whether it is new.

    Raises:
        UserError: another version of the study is under way, or the code is too large.
    """
    store = spelt(request.store)
    with packaged(request.text) as folder:
        while True:
            jobs = server.jobs()
            for known in filter(None, map(_submission, jobs)):
                if known.study == request.study and known.job.is_active and known.store == store:
                    return _same_version(known, request), False
            job_id = f"{request.study}_{_next_number(request.study, jobs)}"
            # Another cluster may have a job of this name, on the same store.
            driver = f"{job_id}{APART}{secrets.token_hex(4)}"
            created = server.submit(
                job_id,
                _entrypoint(request.options),
                folder=folder,
                environment={**environment(store), DRIVER_NAME: driver},
                metadata={
                    "ccar_driver": driver,
                    "ccar_study": request.study,
                    "ccar_version": request.version,
                    "ccar_text": digest_of_text(request.text),
                    "ccar_options": json.dumps(list(request.options)),
                    **({"ccar_store": store} if store else {}),
                },
            )
            if created:
                return find(server, job_id), True


def environment(store: str | None) -> dict[str, str]:
    """The variables of a job of ours on this store; nothing secret.

    Raises:
        UserError: see `spelt`.
    """
    return {"CCAR_STORE": where} if (where := spelt(store)) else {}


def spelt(store: str | None) -> str | None:
    """The address of a cluster's store in the one spelling by which submissions are compared.

    Raises:
        UserError: it is empty, or relative to a folder, which on the cluster would be that of the job.
    """
    if store is None:
        return None
    if store.startswith("s3://"):
        return store.rstrip("/")
    if store.startswith("/"):
        return posixpath.normpath(store)
    raise UserError(
        f"a cluster's store is named by its whole path: found {store or 'an empty text'}",
        hint="--store /FOLDER, on a path that all of its nodes share, or --store s3://BUCKET/PREFIX",
    )


def submissions(server: JobServer) -> list[Submission]:
    """All submissions that the cluster remembers, oldest first."""
    return [submission for job in server.jobs() if (submission := _submission(job)) is not None]


def find(server: JobServer, wanted: str) -> Submission:
    """A submission by its id, or the latest one of a study by the study's name.

    Raises:
        UserError: the cluster knows none.
    """
    known = submissions(server)
    found = [submission for submission in known if wanted in (submission.id, submission.study)]
    if not found:
        ids = ", ".join(submission.id for submission in known[-5:])
        hint = f"it knows {ids}" if ids else "it has had none since it was started; `ccar submit FILE` makes one"
        raise UserError(f"the cluster at {server.address} knows no submission {wanted!r}", hint=hint)
    return found[-1]


def _same_version(known: Submission, request: Request) -> Submission:
    if known.version != request.version:
        raise UserError(
            f"{known.id} is under way with another version of this study, or with other code of ccar",
            hint=f"`ccar extend {known.id}` adds omegas and seeds; `ccar stop {known.id}` makes room and loses nothing",
        )
    return known


def _entrypoint(options: Sequence[str]) -> str:
    command = ["python", "-m", "ccar", "run", STUDY_FILE, "--address", "auto", *options]
    return f'{shlex.join(command)} --store "${{CCAR_STORE:?{_STORE_MISSING}}}"'


def _next_number(study: str, jobs: Sequence[Job]) -> int:
    """The first number after all that are taken, by jobs of others too."""
    ids = filter(None, (_ID.fullmatch(job.id) for job in jobs))
    return 1 + max((int(found["number"]) for found in ids if found["study"] == study), default=0)


def _submission(job: Job) -> Submission | None:
    match = _ID.fullmatch(job.id)
    if match is None or "ccar_version" not in job.metadata:
        return None
    return Submission(
        study=match["study"],
        version=job.metadata["ccar_version"],
        text_digest=job.metadata.get("ccar_text", ""),
        store=job.metadata.get("ccar_store"),
        options=tuple(json.loads(job.metadata.get("ccar_options", "[]"))),
        job=job,
    )
