"""`ccar submit`: look at a study here, and have it run in a cluster."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ccar.cli.options import store_here
from ccar.cli.places import Places, is_there
from ccar.cli.plan import check_device_hours, duration, plan_of_view
from ccar.cli.study_view import StudyView
from ccar.cluster.allowance import Limits
from ccar.cluster.jobs import JobServer
from ccar.cluster.submissions import Request, Submission, submit
from ccar.errors import StoreError, StudyFileError
from ccar.study.definition import Study, load_study
from ccar.study.expansion import cells_of, num_trials_of, plan_cells
from ccar.study.plan import Capacity, Plan, plan_of


def submit_study(file: Path, address: str, store: str | None, limits: Limits) -> tuple[Submission, str]:
    """Check and plan a study on this machine, then submit it.

    Args:
        file: the study file.
        address: of the cluster's job server.
        store: folder of trials on the cluster; None: the one that the cluster names. As far as this machine sees it, or
            else its own, it says what is done and how long trials take.
        limits: how much the study may take.

    Returns:
        The submission, which may be one that is under way with the same, and what comes of it in words.

    Raises:
        StudyFileError: all that is wrong with the file, or with its images and weights if this machine has them.
        UserError: it would take too long; the cluster cannot be reached or refuses; or another version of the
            study is under way.
    """
    study = load_study(file)
    if relative := study.relative_paths():
        raise StudyFileError(relative)
    plan = plan_here(study, store_here(store))
    check_device_hours(study, plan, limits.max_device_hours)
    request = Request(study=study.name, text=study.text, store=store, options=_options(limits))
    submission, is_new = submit(JobServer.connect(address), request)
    return submission, cost_text(study, plan) if is_new else _under_way_text(submission, request)


def _under_way_text(submission: Submission, request: Request) -> str:
    text = f"{submission.id} is under way with this very study; nothing was submitted"
    if tuple(request.options) == submission.options:
        return text
    limits = " ".join(submission.options) or "none"
    return f"{text}, and its limits stay as they are ({limits}): `ccar stop {submission.id}` makes room for others"


def plan_here(study: Study, store: str) -> Plan:
    """What running the study takes, as far as this machine can tell: it need not have the images or the store.

    Raises:
        StudyFileError: what is wrong with images or weights that this machine has.
        UserError: there can be no such store.
    """
    try:
        return _plan(study, Places.of(store, None))
    except StoreError:  # a bucket or a folder that the cluster sees, and this machine does not
        with tempfile.TemporaryDirectory() as nothing:
            return _plan(study, Places.of(nothing, None))


def _plan(study: Study, places: Places) -> Plan:
    needed = (study.data.root, study.data.lists, study.pretrained)
    if all(path is None or is_there(path) for path in needed):
        return plan_of_view(StudyView.of(study, places, pack=False))
    unseen = {(factor, seed): "" for factor in study.data.imbalance_factors for seed in study.seeds}
    # How long trials take does not depend on the weights, which may be missing too: then they have no digest.
    trials = plan_cells(cells_of(study.model_copy(update={"pretrained": None})), study.seeds, unseen)
    return plan_of(
        trials,
        {},
        places.store.all_records(),
        resources=study.resources,
        capacity=Capacity(cpus=0),
        num_trials=num_trials_of(study),
    )


def cost_text(study: Study, plan: Plan) -> str:
    """The plan in one line."""
    done = f", {plan.done} already done" if plan.done else ""
    if plan.device_hours is None:
        cost = f"{plan.device} time unknown: this machine sees no trial like these that has finished"
    else:
        cost = f"about {duration(plan.device_hours)} of {plan.device} time"
    return f"{study.name}: {plan.total} trials{done}; {cost}"


def _options(limits: Limits) -> Sequence[str]:
    """The limits as options of `ccar run`."""
    usual = asdict(Limits())
    given = {name: value for name, value in asdict(limits).items() if value != usual[name]}
    return [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
