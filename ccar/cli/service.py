"""The commands that speak with a cluster's job server: submit a study, look at it, end it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ccar.cli.options import File, Json, MaxDeviceHours, Priority, TrialsAtOnce, talk

EXIT_NOT_ENDED = 1

Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="RAY_API_SERVER_ADDRESS",
        metavar="URL",
        help="Of the cluster's dashboard, e.g. http://HOST:8265.",
    ),
]
Id = Annotated[
    str, typer.Argument(metavar="ID", help="What `ccar submit` printed, or the name of a study.", show_default=False)
]
ClusterStore = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="Folder of trials or s3://BUCKET/PREFIX, as the cluster's nodes see it; default: CCAR_STORE of its head.",
        show_default=False,
    ),
]

LOCAL_ADDRESS = "http://127.0.0.1:8265"  # Ray's own default


def add_service_commands(app: typer.Typer) -> None:
    """Register the commands of this file."""
    for command in (submit, status, logs, stop, pause, resume, extend, fetch):
        app.command()(command)


def submit(
    file: File,
    address: Address = LOCAL_ADDRESS,
    store: ClusterStore = None,
    max_device_hours: MaxDeviceHours = None,
    trials_at_once: TrialsAtOnce = None,
    priority: Priority = 0,
) -> None:
    """Have a cluster run a study; prints its id."""
    from ccar.cli.submit import submit_study
    from ccar.cluster.allowance import Limits

    limits = Limits(max_device_hours=max_device_hours, trials_at_once=trials_at_once, priority=priority)
    submission, said = submit_study(file, address, store, limits)
    print(submission.id)
    lines = [said, f"follow   ccar logs {submission.id} --follow", f"look     ccar status {submission.id}"]
    talk.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def status(
    wanted: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="What `ccar submit` printed, or the name of a study; default: all."),
    ] = None,
    address: Address = LOCAL_ADDRESS,
    as_json: Json = False,
) -> None:
    """Say how submitted studies stand."""
    from ccar.cli.status import status_of
    from ccar.cli.tables import rows_as_table

    rows, trouble = status_of(address, wanted)
    for problem in trouble:
        talk.print(problem, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps(rows, indent=2))
    elif rows:
        print(rows_as_table(rows), end="")
    else:
        talk.print(f"no study was submitted to the cluster at {address} since it started", markup=False)


def logs(
    wanted: Id,
    address: Address = LOCAL_ADDRESS,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the study ends, or Ctrl-C.")] = False,
) -> None:
    """Print what a submitted study has said."""
    from ccar.cluster.jobs import JobServer
    from ccar.cluster.submissions import find

    server = JobServer.connect(address)
    submission = find(server, wanted)
    if not follow:
        print(server.log(submission.id), end="")
        return
    try:
        for piece in server.follow(submission.id):
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        talk.print(f"\n{submission.id} goes on without you", markup=False)


def stop(wanted: Id, address: Address = LOCAL_ADDRESS) -> None:
    """End a submitted study; nothing that it has trained is lost."""
    from ccar.cli.stop import stop_submission

    ended, sentence = stop_submission(address, wanted)
    print(sentence)
    if not ended:
        raise typer.Exit(EXIT_NOT_ENDED)


def pause(wanted: Id, address: Address = LOCAL_ADDRESS) -> None:
    """Have a submitted study give its devices back and wait."""
    from ccar.cli.pause import pause_submission

    print(f"{pause_submission(address, wanted)} pauses; its trials go on from their last epoch after `ccar resume`")


def resume(wanted: Id, address: Address = LOCAL_ADDRESS) -> None:
    """Let a study that was paused go on."""
    from ccar.cli.pause import resume_submission

    print(f"{resume_submission(address, wanted)} goes on")


def extend(
    wanted: Id,
    address: Address = LOCAL_ADDRESS,
    omega: Annotated[
        list[float] | None,
        typer.Option(metavar="OMEGA", help="Another pivot omega; give the option several times for several."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="+N", help="How many more seeds.", show_default=False)] = None,
) -> None:
    """Add omegas or seeds to a submitted study; prints its new id."""
    from ccar.cli.extend import extend_submission

    submission = extend_submission(address, wanted, omega or [], seeds)
    print(submission.id)
    talk.print(f"follow   ccar logs {submission.id} --follow", markup=False, highlight=False, soft_wrap=True)


def fetch(
    wanted: Id,
    address: Address = LOCAL_ADDRESS,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for the files; default: ./STUDY.", show_default=False),
    ] = None,
) -> None:
    """Bring the report of a submitted study here, as far as it is."""
    from ccar.cli.fetch import fetch_report

    folder = fetch_report(address, wanted, out)
    print(folder / "report.html")
    talk.print(
        f"tables   {folder / 'cells.csv'}, {folder / 'trials.csv'}", markup=False, highlight=False, soft_wrap=True
    )
