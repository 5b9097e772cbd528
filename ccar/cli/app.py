"""The commands of `ccar`. Results go to stdout; progress, advice and errors to stderr.

What a command needs is imported when it runs, so that `ccar --help` answers at once.
"""

from __future__ import annotations

import errno
import gc
import io
import json
import logging
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ccar.cli.cluster_commands import commands as cluster_commands
from ccar.cli.options import (
    DEFAULT_STORE,
    File,
    Json,
    MaxDeviceHours,
    Priority,
    Store,
    TrackingUri,
    TrialsAtOnce,
    store_here,
    talk,
)
from ccar.cli.service import add_service_commands
from ccar.errors import CcarError, UserError
from ccar.reports.neutralise import lines_of

if TYPE_CHECKING:
    from ccar.cli.places import Places
    from ccar.cli.run import RunOutcome
    from ccar.cli.study_view import StudyView
    from ccar.reports.results import Results

EXIT_FAILED_TRIALS = 1  # or the store or MLflow failed on the way
EXIT_FOUND = 1  # a check that found something
EXIT_WRONG_INPUT = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="ccar",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "Which pivot omega, base loss and class-frequency variant help on long-tailed data - and by how much "
        "more than noise.\n\nTo begin: ccar run studies/digits_lt.yaml"
    ),
)


@app.command()
def validate(
    file: File,
    data: Annotated[bool, typer.Option("--data", help="Also look for every image of large sets.")] = False,
    store: Store = DEFAULT_STORE,
) -> None:
    """Check a study file and the images it names. Trains and creates nothing in the store."""
    from ccar.study.expansion import check_images

    places = _places(store)
    view = _open(file, places, pack=False)
    trials = view.source().num_trials
    images = f", {check_images(view.study, places.cache_dir):,} images found" if data else ""
    print(f"{file}: valid: {trials} trials, {len(view.images.class_names)} classes{images}")


@app.command()
def plan(file: File, store: Store = DEFAULT_STORE, as_json: Json = False) -> None:
    """Say how far a study is, and what the rest takes."""
    from ccar.cli.plan import plan_json, plan_of_view, plan_text
    from ccar.study.expansion import pack_state

    view = _open(file, _places(store), pack=False)
    planned = plan_of_view(view)
    pack = pack_state(view.study, view.places.cache_dir)
    print(json.dumps(plan_json(planned, pack), indent=2) if as_json else plan_text(view.study, planned, pack))


@app.command()
def run(
    file: File,
    store: Store = DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Address of a running Ray cluster; default: Ray on this machine.",
            show_default=False,
        ),
    ] = None,
    max_device_hours: MaxDeviceHours = None,
    trials_at_once: TrialsAtOnce = None,
    priority: Priority = 0,
) -> None:
    """Run a study and compare its methods.

    Trains what the store does not have, logs to MLflow, prints the comparison and writes the report.
    """
    from ccar.cli.run import run_study
    from ccar.cluster.allowance import Limits
    from ccar.cluster.interruption import interruption

    if priority and address is None:
        raise UserError("--priority is for studies on one cluster", hint="--address HOST:PORT names the cluster")
    limits = Limits(max_device_hours=max_device_hours, trials_at_once=trials_at_once, priority=priority)
    with interruption(_say_that_it_ends) as interrupted:
        outcome = run_study(file, _places(store, tracking_uri), address, talk, interrupted, limits)
    if outcome.results is not None:
        _print_short_form(outcome.results)
    _closing(outcome)
    if outcome.summary.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome.summary.failures or outcome.summary.is_cut_short:
        raise typer.Exit(EXIT_FAILED_TRIALS)


@app.command()
def report(
    file: File,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Folder for the report; default: STORE/reports/STUDY.", show_default=False
        ),
    ] = None,
    store: Store = DEFAULT_STORE,
) -> None:
    """Write the report of a study from what the store has now."""
    from ccar.reports.figures.all_figures import drawing_processes
    from ccar.reports.results import summarise
    from ccar.reports.write import write_report

    places = _places(store)
    view = _open(file, places)
    folder = out if out is not None else places.report_dir(view.study.name)
    with drawing_processes() as each:
        found = view.report_input(view.source().known)
        if not found.validation["epochs"].any():
            raise UserError(
                f"the store {places.store.address} has no trial of {view.study.name} yet",
                hint=f"`ccar run {file}` trains them; --store DIR names another store",
            )
        results = summarise(found)
        write_report(folder, results, each)
    _print_short_form(results)
    talk.print(f"report: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def schema(
    of_report: Annotated[bool, typer.Option("--report", help="Of report.json instead.")] = False,
) -> None:
    """Print the JSON Schema of study files, or of report.json. With it, editors complete and check them."""
    if of_report:
        from ccar.reports.report_file import report_schema

        print(json.dumps(report_schema(), indent=2))
    else:
        from ccar.study.definition import study_schema

        print(json.dumps(study_schema(), indent=2))


@app.command("list")
def list_(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="methods, datasets, studies or runs.", show_default=False)
    ],
    store: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Folder of trials; default: CCAR_STORE, here or of the cluster.", show_default=False
        ),
    ] = None,
    studies: Annotated[Path, typer.Option(metavar="DIR", help="Folder of study files.")] = Path("studies"),
    address: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Of a cluster's dashboard, e.g. http://HOST:8265: runs in its store.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List methods, data sets, study files or runs."""
    from ccar.cli.listing import KINDS, listing, listing_of_cluster
    from ccar.cli.tables import rows_as_table

    known = next((name for name in KINDS if name == kind), None)
    if known is None:
        raise UserError(f"cannot list {kind!r}", hint=f"choose from {', '.join(KINDS)}")
    if address is not None:
        rows = listing_of_cluster(known, address, store)
    else:
        rows = listing(known, _places(store_here(store)).store, studies)
    if as_json:
        print(json.dumps(rows, indent=2))
    elif rows:
        print(rows_as_table(rows), end="")
    else:
        where = f"in {studies}" if known == "studies" else "here"
        talk.print(f"no {kind} {where}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def figures(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the figures.")] = Path("figures"),
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Whose classes: cifar10_lt, cifar100_lt (default), imagenet_lt, inaturalist2018 or places_lt.",
            show_default=False,
        ),
    ] = None,
    imbalance_factor: Annotated[
        float | None, typer.Option(metavar="X", help="Of cifar10_lt and cifar100_lt; default: 100.", show_default=False)
    ] = None,
    class_counts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of --data: a file with the number of images of each class.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draw the paper's figures 1 and 2 for real classes.

    The gradient factor, and Omega in 3-D and as contours.
    """
    from ccar.cli.figures import write_figures

    for path in write_figures(out, data, imbalance_factor, class_counts):
        print(path)


@app.command("lint-claims")
def lint_claims(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="CSV file of a results table (docs/published.md); default: the CCAR paper's own tables.",
            show_default=False,
        ),
    ] = None,
    template: Annotated[bool, typer.Option("--template", help="Print a CSV file to fill in, and end.")] = False,
    as_json: Json = False,
) -> None:
    """Check the arithmetic of a results table.

    Says what cannot be true, what is doubtful, and what is within noise.

    Exit code 0 when nothing is found, 1 when something is, 2 when the file cannot be read.
    """
    from ccar.cli.lint_claims import CSV_TEMPLATE, lint, lint_json, lint_text

    if template:
        print(CSV_TEMPLATE, end="")
        return
    result = lint(file)
    print(json.dumps(lint_json(result), indent=2) if as_json else lint_text(result), end="\n" if as_json else "")
    for sentence in result.not_checked:
        talk.print(f"not checked: {sentence}", markup=False, highlight=False, soft_wrap=True)
    if result.findings:
        raise typer.Exit(EXIT_FOUND)


@app.command()
def why(
    file: File,
    trial: Annotated[
        str,
        typer.Argument(
            metavar="TRIAL",
            help="A trial: 'CELL seed N' (CELL alone: its first seed), or the beginning of its key.",
            show_default=False,
        ),
    ],
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Say why a trial would run again.

    Names what differs between its key and the nearest finished one.
    """
    from ccar.cli.why import find_trial, why_json, why_text
    from ccar.study.plan import why as why_of

    places = _places(store)
    view = _open(file, places)
    planned = find_trial(trial, view.source().known)
    answer = why_of(planned, places.store.all_records())
    own = places.store.read(planned.key)
    if as_json:
        print(json.dumps(why_json(planned, own, answer), indent=2))
    else:
        print(why_text(planned, own, answer, stopped_is_done=view.study.early_stopping is not None))


@app.command()
def compare(
    first: Annotated[
        Path,
        typer.Argument(metavar="A", help="A study file, a report.json, or the folder of a report.", show_default=False),
    ],
    second: Annotated[Path, typer.Argument(metavar="B", help="The same of the other.", show_default=False)],
    store: Store = DEFAULT_STORE,
    other_store: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder of trials for B, where it is a study file; default: that of A.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two studies, or two runs of one.

    Says what they agree on, and what differs by more than noise.
    """
    from ccar.cli.compare import compare_reports, comparison_json, comparison_text, open_report

    reports = (
        open_report(first, _places(store)),
        open_report(second, _places(store if other_store is None else other_store)),
    )
    found = compare_reports(*reports, (str(first), str(second)))
    print(json.dumps(comparison_json(found), indent=2) if as_json else comparison_text(found))


@app.command()
def replay(
    report: Annotated[
        Path, typer.Argument(metavar="REPORT", help="A report.json, or the folder of a report.", show_default=False)
    ],
    cell: Annotated[
        str,
        typer.Argument(metavar="CELL", help="Id of a cell, e.g. 'if50/focal+ccar(omega=0.75)'.", show_default=False),
    ],
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Only this seed; default: all.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a cell again from its report alone, and compare.

    Takes an empty store; exit code 1 if a number differs.
    """
    from ccar.cli.replay import find_cell, replay_json, replay_text
    from ccar.cli.replay import replay as train_again
    from ccar.reports.report_file import read_report

    content = read_report(report)
    found = find_cell(content, cell)
    replayed = train_again(content, found, seed, _places(DEFAULT_STORE).cache_dir, talk)
    print(json.dumps(replay_json(found.cell, replayed), indent=2) if as_json else replay_text(found.cell, replayed))
    if any(trial.unequal for trial in replayed):
        raise typer.Exit(EXIT_FOUND)


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Trials that were trained elsewhere, one JSON file.", show_default=False),
    ],
    store: Store = DEFAULT_STORE,
) -> None:
    """Put trials into the store that were trained without one.

    `python -m benchmarks.gpu_table2` writes such a file.

    Exit code 0 when the store has all of them then, 1 when one that it has begun is in the way, 2 when the file is
    damaged, foreign, or does not keep what its keys promise; then nothing is imported.
    """
    from ccar.store.importing import import_trials
    from ccar.store.trial_file import read_trials

    places = _places(store)
    trials = read_trials(file)
    done = import_trials(places.store, trials)
    print(f"{file}: {done.imported} of {len(trials)} trials imported, {done.already_there} were there already")
    for line in done.in_the_way:
        talk.print(f"{line}; not imported", style="red", markup=False, highlight=False, soft_wrap=True)
    if done.in_the_way:
        raise typer.Exit(EXIT_FOUND)


@app.command()
def sync(
    study: Annotated[
        list[str] | None,
        typer.Argument(metavar="STUDY", help="Names of studies; default: all in the store.", show_default=False),
    ] = None,
    store: Store = DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
) -> None:
    """Bring MLflow up to what the store has. Rebuilds a tracking server that was lost."""
    from ccar.reports.wording import counted
    from ccar.tracking.address import check_tracking, shown
    from ccar.tracking.outbox import sync as sync_studies

    places = _places(store, tracking_uri)
    check_tracking(places.tracking_uri)
    done = sync_studies(places.store, places.tracking_uri, study, report_dir=places.report_dir)
    sent = f"{counted(done.trials, 'trial')} sent, {counted(done.points, 'point')}"
    print(f"{shown(places.tracking_uri)}: {counted(done.studies, 'study', 'studies')}, {sent}")
    for damage in done.damaged:
        talk.print(damage, style="red", markup=False)
    if done.damaged:
        raise typer.Exit(EXIT_FAILED_TRIALS)


@app.command()
def ui(
    store: Store = DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="IP", help="IP address to listen on. With any but this, MLFLOW_AUTH_ADMIN_PASSWORD must be set."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(metavar="N", help="Where to listen; default: 5000, or a free port.", min=0, max=65535)
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open the address in a browser.")] = False,
) -> None:
    """Open the dashboard and MLflow on the store. Ends with Ctrl-C."""
    import webbrowser

    from ccar.cli.ui import serve_pages

    places = _places(store, tracking_uri)
    if not places.store_is_there:
        new = f"there is no store at {places.store.address} yet: the pages fill as soon as a study runs there"
        talk.print(new, style="yellow", markup=False, highlight=False, soft_wrap=True)
    talk.print("starting the dashboard and MLflow ...")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers must not outlive us
    try:
        with serve_pages(places, host, port) as server:
            print(server.address, flush=True)
            talk.print("Ctrl-C ends it")
            if open_it and not webbrowser.open(server.address):
                talk.print("no browser was found: open the address yourself", style="yellow")
            server.wait()
    except KeyboardInterrupt:
        talk.print("ended")


@app.command()
def doctor(
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="HOST:PORT of a cluster's head, or URL of its dashboard; default: this machine alone.",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            envvar="CCAR_STORE",
            metavar="DIR",
            help="Folder of trials; default: the one that the cluster names, or ccar-store.",
            show_default=False,
        ),
    ] = None,
    tracking_uri: TrackingUri = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with this machine, or with a cluster.

    Looks at every node, and says what to do; exit code 1 if anything is wrong.
    """
    from ccar.cli.doctor import checks_json, checks_text, examine_cluster, examine_from_outside, examine_machine

    if address is not None and "://" in address:
        checks = examine_from_outside(address, store)
    else:
        places = _places(store_here(store), tracking_uri)
        checks = examine_machine(places) if address is None else examine_cluster(places, address)
    print(json.dumps(checks_json(checks), indent=2) if as_json else checks_text(checks))
    if not all(check.ok for check in checks):
        raise typer.Exit(EXIT_FOUND)


add_service_commands(app)
app.add_typer(cluster_commands, name="cluster")


def main() -> None:
    """Entry point of the `ccar` command: no traceback for what a user can mend."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("ccar").setLevel(logging.INFO)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # of names and signs that the terminal's encoding has not: ? for them
    # Frames and figures are many small objects that live: to look through them after each 700 new ones takes a sixth
    # of the time of a report.
    gc.set_threshold(50_000)
    try:
        _check_system()
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # what cannot be written any more is told below, and not while Python ends
    except CcarError as error:
        _print_error(error)
        sys.exit(EXIT_WRONG_INPUT if isinstance(error, UserError) else EXIT_FAILED_TRIALS)
    except BrokenPipeError:  # whoever read our output has read enough
        _drop_output()
        sys.exit(1)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if error.filename is None and not is_full:
            raise
        where = "the file that the output goes to" if error.filename is None else error.filename
        hint = "free some space there" if is_full else "choose one that this user may use"
        _print_error(UserError(f"cannot use {where}: {error.strerror}", hint=hint))
        if error.filename is None:
            _drop_output()
        sys.exit(EXIT_WRONG_INPUT)
    finally:
        # Python's last collections would look at every object of every module: 0.8 s after a run. A process that has
        # trained itself needs them: libraries of torch complain about what is left.
        if "torch" not in sys.modules:
            gc.freeze()


def _drop_output() -> None:
    """Have Python write nowhere what it could not write, when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_system() -> None:
    if sys.platform != "linux":
        raise UserError(
            f"ccar needs Linux: this is {sys.platform}",
            hint="use a container or a virtual machine; `ccar.losses` alone needs torch and nothing else",
        )
    try:
        Path.home()
    except RuntimeError as error:  # as in a container that runs under a number of its own
        raise UserError(
            f"user {os.getuid()} has no home folder, and Ray and MLflow look for one",
            hint="set HOME to a folder that this user may write",
        ) from error


def _places(store: str, tracking_uri: str | None = None) -> Places:
    from ccar.cli.places import Places

    return Places.of(store, tracking_uri)


def _open(file: Path, places: Places, *, pack: bool = True) -> StudyView:
    from ccar.cli.study_view import StudyView

    return StudyView.open(file, places, pack=pack)


def _say_that_it_ends() -> None:
    talk.print("ending: trials stop at their last checkpoint; once more, and it ends at once", style="yellow")


def _print_short_form(results: Results) -> None:
    from ccar.reports.terminal import terminal_table

    Console().print(*terminal_table(results), sep="\n")


def _closing(outcome: RunOutcome) -> None:
    """What failed, and where to look next."""
    summary = outcome.summary
    for trial, error in summary.failures:
        talk.print(f"failed: {trial.name}\n{error.rstrip()}", style="red", markup=False, highlight=False)
    if reason := summary.cut_short_by:
        talk.print(f"stopped: {reason}", style="red", markup=False, highlight=False)
    if summary.interrupted:
        said = "interrupted; run the same command again to go on from here"
        if outcome.is_spent:
            said = "ended: --max-device-hours are used up; the same command, with more of them, goes on from here"
        talk.print(said, style="yellow", highlight=False, soft_wrap=True)
        return
    folder = outcome.report_dir
    lines = [f"runs     {_ui_command(outcome.view.places)}"]
    if folder is not None:
        tables = f"tables   {folder / 'cells.csv'}, {folder / 'trials.csv'}"
        lines = [f"report   {folder / 'report.html'}", tables, *lines]
    talk.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _ui_command(places: Places) -> str:
    """What opens the pages on these very places, as it may be typed in this shell."""
    from ccar.tracking.address import shown

    words = ["ccar", "ui", "--store", places.store.address]
    if places.tracking_uri != _places(places.store.address, os.environ.get("MLFLOW_TRACKING_URI")).tracking_uri:
        words += ["--tracking-uri", shown(places.tracking_uri)]
    return shlex.join(words)


def _print_error(error: CcarError) -> None:
    talk.print(_visible(str(error)), style="red", markup=False, highlight=False, soft_wrap=True)
    if error.hint:
        talk.print(f"  hint: {_visible(error.hint)}", markup=False, highlight=False, soft_wrap=True)


def _visible(text: str) -> str:
    """A message may quote a file of somebody else: the terminal obeys nothing in it."""
    return "\n".join(lines_of(text))
