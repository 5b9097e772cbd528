"""`ccar plan`: the plan of a study on this machine, and its words."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from ccar.cli.study_view import StudyView
from ccar.data.listed_sets import PackState
from ccar.errors import UserError
from ccar.machine import gpu_ids, num_cpus
from ccar.study.data_notes import coarse_validation
from ccar.study.definition import Study
from ccar.study.plan import Capacity, Plan, plan_of


def plan_of_view(view: StudyView) -> Plan:
    """What running the study on this machine takes, by the timings in the store."""
    source, store = view.source(), view.places.store
    plan = plan_of(
        source.known,
        view.records(source.known),
        store.all_records(),
        resources=view.packing(source.known, lambda _: None).known,
        capacity=this_machine(),
        num_trials=source.num_trials,
        stopped_is_done=view.study.early_stopping is not None,
    )
    return replace(plan, note=coarse_validation(view.study, view.images))


def check_device_hours(study: Study, plan: Plan, most: float | None) -> None:
    """Refuse what would take too long. What takes nobody knows how long passes.

    Raises:
        UserError: by the timings in the store, the study takes more device-hours than `most`.
    """
    if most is not None and plan.device_hours is not None and plan.device_hours > most:
        raise UserError(
            f"{study.name} would take about {duration(plan.device_hours)} of {plan.device} time, "
            f"more than --max-device-hours {most:g}",
            hint="raise the limit, or ask for fewer seeds or omegas",
        )


def this_machine() -> Capacity:
    """The CPUs and the NVIDIA GPUs that this process may use."""
    return Capacity(cpus=num_cpus(), gpus=len(gpu_ids()))


def plan_json(plan: Plan, pack: PackState | None) -> dict[str, Any]:
    """The plan for scripts. `images` is null for sets that need no pack; `done` is where they need one that is not
    ready, since the keys of trials hold what is in it."""
    if pack is None:
        return {**plan.to_json(), "images": None}
    facts = {**asdict(pack), "folder": str(pack.folder), "is_ready": pack.is_ready}
    return {**plan.to_json(), **({} if pack.is_ready else {"done": None}), "images": facts}


def plan_text(study: Study, plan: Plan, pack: PackState | None = None) -> str:
    """The plan for people, one fact a line."""
    size = f"{len(study.seeds)} seeds x {plan.total // len(study.seeds)} cells"
    lines = [f"{study.name}: {plan.total} trials: {size}"]
    if pack is not None:
        lines += _images(pack)
    is_known = pack is None or pack.is_ready
    lines.append(f"  done      {plan.done if is_known else 'unknown before that'}")
    lines.append(f"  to run    {plan.to_run if is_known else f'at most {plan.to_run}'}")
    if plan.two_stage:
        networks = "network" if plan.stage_ones == 1 else "networks"
        lines.append(f"  stages    {plan.two_stage} trials start from {plan.stage_ones} {networks} trained once each")
    if plan.slots == 0:
        lines.append("  at once   0: this machine does not have what `resources` asks for")
    else:
        lines.append(f"  at once   {plan.slots} on this machine")
    if plan.gpus == "auto":
        lines.append("            (how many trials share a GPU is measured by the first run)")
    elif study.resources.gpus == "auto":
        lines.append(f"            ({round(1 / plan.gpus)} on each GPU, as measured)")
    if plan.device_hours is None:
        lines.append("  cost      unknown: no trial like these has finished in this store yet")
    else:
        spent = f"{duration(plan.device_hours)} of {plan.device} time"
        lines.append(f"  cost      {spent}, {duration(plan.wall_clock_hours)} in all")
    if plan.note is not None:
        lines.append(f"  note      {plan.note}")
    return "\n".join(lines)


def _images(pack: PackState) -> list[str]:
    if pack.is_ready:
        return [f"  images    {pack.num_images:,} packed: {_bytes(pack.num_bytes)} in {pack.folder}"]
    missing = pack.num_images - pack.num_packed
    return [
        f"  images    {missing:,} to pack, once for all trials: {_bytes(pack.num_bytes)} in all, about "
        f"{duration(pack.seconds / 3600)} on this machine",
        f"            into {pack.folder}",
    ]


def _bytes(count: int) -> str:
    if count >= 1e8:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.0f} kB"


def duration(hours: float | None) -> str:
    """A number of hours as people say it; None is unknown."""
    if hours is None:
        return "unknown"
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.1f} h"
