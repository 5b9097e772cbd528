"""What running a study would cost, and why a trial would run again: arithmetic over the store's records."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

from ccar.store.key import key_parts
from ccar.store.records import TrialRecord, TrialStatus
from ccar.study.definition import Resources, ray_units
from ccar.study.expansion import PlannedTrial
from ccar.training.config import TrialConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What there is to run on: totals over the machine or the cluster."""

    cpus: float
    gpus: float = 0.0

    def slots(self, resources: Resources) -> int:
        """How many trials run at once; a share of a GPU is a share of one GPU, never of two."""
        by_cpu = times(self.cpus, resources.cpus)
        if resources.gpu_share == 0:
            return by_cpu
        if resources.gpu_share < 1:
            return min(by_cpu, int(self.gpus) * times(1, resources.gpu_share))
        return min(by_cpu, times(self.gpus, resources.gpu_share))


def times(whole: float, part: float) -> int:
    """How often Ray fits `part` into `whole`: six times 0.142857, which it rounds up, into 1."""
    return ray_units(whole) // max(1, ray_units(part))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of a study is done, and what the rest takes; estimates are None where nothing was timed."""

    total: int  # trials, those that a searcher has yet to suggest included
    done: int
    to_run: int
    by_status: Mapping[TrialStatus, int]  # of the trials that are known
    to_suggest: int  # trials that only the searcher will know
    stage_ones: int  # trained networks that two-stage trials share
    two_stage: int  # the trials that start from one of these
    slots: int  # trials at once
    gpus: float | Literal["auto"]  # of each trial; auto: yet to be measured, and a whole one in the estimates
    device: str  # what device_hours count: "gpu" or "cpu"
    device_hours: float | None
    wall_clock_hours: float | None
    note: str | None = None  # about the images, see `data_notes`

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; null for what is unknown."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One part of something nested, such as a trial's key, that differs from what was stored."""

    path: str  # dotted, e.g. "recipe.epochs"
    stored: object  # None where what was stored has no such part
    current: object

    def __str__(self) -> str:
        return f"{self.path}: {_brief(self.stored)} -> {_brief(self.current)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """The finished trial that is most like a planned one, and all that keeps the two apart."""

    nearest: TrialRecord | None  # None: the store has no finished trial
    differences: tuple[Difference, ...]  # empty: the trial itself is finished


def states_to_run(*, stopped_is_done: bool) -> frozenset[TrialStatus]:
    """A trial in one of these states is trained, or trained on, by the next run; the others are done.

    Args:
        stopped_is_done: whether a trial that was stopped early counts as done: in a study that stops trials.
    """
    again: frozenset[TrialStatus] = frozenset({"absent", "unfinished", "failed"})
    return again if stopped_is_done else again | {"stopped"}


def plan_of(
    trials: Sequence[PlannedTrial],
    records: Mapping[str, TrialRecord],
    timings: Iterable[TrialRecord],
    *,
    resources: Resources,
    capacity: Capacity,
    num_trials: int | None = None,
    stopped_is_done: bool = False,
) -> Plan:
    """Add up what is done, what is to run, and how long that takes.

    Args:
        trials: the trials that are known.
        records: the store's record of each, by key; a trial without one counts as absent.
        timings: any trials of the store; those that finished on such a device tell how long a trial takes.
        resources: of one trial.
        capacity: of the machine or the cluster.
        num_trials: trials at the end of the study, where a searcher suggests some; default: the known ones.
        stopped_is_done: see `states_to_run`.
    """
    again = states_to_run(stopped_is_done=stopped_is_done)
    statuses = {trial.key: _status(records.get(trial.key)) for trial in trials}
    by_status = Counter(statuses.values())
    missing = [trial for trial in trials if statuses[trial.key] in again]
    to_suggest = max(0, (num_trials or 0) - len(trials))
    two_stage = [trial for trial in trials if trial.stage_one_key is not None]
    slots = capacity.slots(resources)
    device = "gpu" if resources.gpu_share else "cpu"
    on_device = (record for record in timings if (record.worker.get("device") == "cpu") == (device == "cpu"))
    seconds = _seconds_of(missing, records, to_suggest, trials, on_device)
    per_trial = resources.gpu_share or resources.cpus
    device_hours = wall_clock_hours = None
    if seconds is not None:
        device_hours = math.fsum(seconds) * per_trial / 3600
        if slots and seconds:
            # Whole trials: the longest one cannot be shared out.
            wall_clock_hours = max(math.fsum(seconds) / slots, *seconds) / 3600
        elif not seconds:
            wall_clock_hours = 0.0
    return Plan(
        total=len(trials) + to_suggest,
        done=len(trials) - len(missing),
        to_run=len(missing) + to_suggest,
        by_status=dict(by_status),
        to_suggest=to_suggest,
        stage_ones=len({trial.stage_one_key for trial in two_stage}),
        two_stage=len(two_stage),
        slots=slots,
        gpus=resources.gpus,
        device=device,
        device_hours=device_hours,
        wall_clock_hours=wall_clock_hours,
    )


def why(trial: PlannedTrial, records: Iterable[TrialRecord]) -> Why:
    """Which parts of a trial's key differ from the nearest finished trial, by number of differing parts."""
    current = key_parts(trial.config, trial.data_fingerprint)
    nearest: tuple[int, float, TrialRecord] | None = None
    for record in records:
        if record.status == "finished":
            distance = len(differing_parts(record.parts, current))
            age = -(record.ended_at or 0.0)  # of equally near ones, the latest
            if nearest is None or (distance, age) < nearest[:2]:
                nearest = (distance, age, record)
    if nearest is None:
        return Why(nearest=None, differences=())
    return Why(nearest=nearest[2], differences=tuple(differing_parts(nearest[2].parts, current)))


def differing_parts(stored: Mapping[str, object], current: Mapping[str, object]) -> list[Difference]:
    """Every plain value in which two nested JSON values differ."""
    before, now = leaves(stored), leaves(current)
    return [
        Difference(path=path, stored=before.get(path), current=now.get(path))
        for path in dict.fromkeys([*now, *before])
        if before.get(path) != now.get(path) or (path in before) != (path in now)
    ]


def _status(record: TrialRecord | None) -> TrialStatus:
    return "absent" if record is None else record.status


def _seconds_of(
    missing: Sequence[PlannedTrial],
    records: Mapping[str, TrialRecord],
    to_suggest: int,
    trials: Sequence[PlannedTrial],
    timings: Iterable[TrialRecord],
) -> list[float] | None:
    """Expected seconds of each trial that is to run; None when no finished trial is like it."""
    timed: dict[tuple[object, ...], list[float]] = {}
    for record in timings:
        if record.status == "finished" and record.config is not None:
            for kind in kinds_of(record.config):
                timed.setdefault(kind, []).append(record.seconds)
    expected = []
    for trial in missing:
        kinds = [kind for kind in kinds_of(trial.config) if kind in timed]
        if not kinds:
            return None
        spent = records[trial.key].seconds if trial.key in records else 0.0
        expected.append(max(0.0, fmean(timed[kinds[0]]) - spent))
    if to_suggest:
        kinds = [kind for trial in trials for kind in kinds_of(trial.config) if kind in timed]
        if not kinds:
            return None
        expected += [fmean(timed[kinds[0]])] * to_suggest
    return expected


def kinds_of(config: TrialConfig) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """What takes about as long, nearest first: the same recipe, at best with as many images."""
    data = (config.data.name, config.data.image_size)
    alike = (data, config.model, config.recipe, config.procedure.name)
    return ((*alike, config.data.imbalance_factor), alike)


def leaves(parts: object, path: str = "") -> dict[str, object]:
    """Every plain value in nested JSON, by its dotted path."""
    if isinstance(parts, Mapping):
        items: Iterable[tuple[object, object]] = parts.items()
    elif isinstance(parts, list | tuple):
        items = enumerate(parts)
    else:
        return {path: parts}
    found: dict[str, object] = {}
    for key, value in items:
        found |= leaves(value, f"{path}.{key}" if path else str(key))
    return found


def _brief(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 or " " in text else text[:12] + "..."  # the rest of a digest says nothing
