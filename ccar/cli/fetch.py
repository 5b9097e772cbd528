"""`ccar fetch`: the report of a submitted study, as the cluster's store has it now."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

from ccar.cli.places import Places
from ccar.cli.study_view import StudyView
from ccar.cluster.jobs import JobServer
from ccar.cluster.package import STUDY_FILE
from ccar.cluster.questions import ask
from ccar.cluster.submissions import find
from ccar.errors import UserError
from ccar.reports.results import summarise
from ccar.reports.write import report_files
from ccar.store.records import StudyRecord
from ccar.study.definition import study_of_text


def fetch_report(address: str, wanted: str, out: Path | None) -> Path:
    """Bring the report to this machine.

    Args:
        address: of the cluster's job server.
        wanted: an id or the name of a study.
        out: folder for the files; None: one with the name of the study, here.

    Returns:
        The folder.

    Raises:
        UserError: the folder cannot be written; the cluster or its store knows no such study.
    """
    server = JobServer.connect(address)
    submission = find(server, wanted)
    folder = out if out is not None else Path(submission.study)
    packed = base64.b64decode(ask(server, submission.store, ["report", submission.study]))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(io.BytesIO(packed)) as files:
            files.extractall(folder)
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}", hint="choose another one: --out DIR"
        ) from error
    return folder


def packed_report(places: Places, record: StudyRecord) -> str:
    """The files of a study's report and its study file, as base64 of a zip; the other end of `fetch_report`."""
    view = StudyView.of(study_of_text(record.definition, STUDY_FILE), places, pack=False)
    files = report_files(summarise(view.report_input(view.source().known)))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(STUDY_FILE, record.definition)
        for name, content in files.items():
            archive.writestr(name, content)
    return base64.b64encode(packed.getvalue()).decode()
