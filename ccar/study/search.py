"""Where the next trial comes from: all trials of a grid in order, or the suggestions of Optuna."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Protocol

from ccar.errors import Fenced
from ccar.store.key import digest_of_parts, key_parts
from ccar.study.definition import NUM_RANDOM_OMEGAS, OMEGAS_PER_UNIT, OptunaSearch, Study, rounded_omega
from ccar.study.expansion import (
    OpenCell,
    PlannedTrial,
    Setting,
    cell_of,
    cells_of,
    fingerprints_of,
    open_cells_of,
    plan_cells,
)
from ccar.study.stages import InStages

if TYPE_CHECKING:
    import optuna

    from ccar.data.image_set import SourceData


class TrialSource(Protocol):
    """Hands out trials one by one, and may look at results before it hands out more."""

    @property
    def num_trials(self) -> int:
        """How many trials it will have handed out at its end."""

    @property
    def known(self) -> tuple[PlannedTrial, ...]:
        """The trials whose configuration is known by now."""

    @property
    def exhausted(self) -> bool:
        """Whether everything has been handed out."""

    def next(self) -> PlannedTrial | None:
        """The next trial to run; None: more may come once the results of those under way are told."""

    def tell(self, trial: PlannedTrial, accuracies: Mapping[str, float] | None) -> None:
        """What a trial that was handed out reached on its validation part; None when it reached no end."""


class SearchLog(Protocol):
    """Remembers what was suggested, so that a re-run repeats it: `TrialStore.search_log(study)`."""

    def asked(self, group: str) -> list[dict[str, float]]:
        """The suggestions of this group so far, in order."""

    def record(self, group: str, index: int, params: Mapping[str, float]) -> None:
        """Remember suggestion `index`; raises Fenced when another driver has recorded it already."""


class GridSource:
    """All planned trials, in order."""

    def __init__(self, trials: Sequence[PlannedTrial]) -> None:
        self.known = tuple(trials)
        self._given = 0

    @property
    def num_trials(self) -> int:
        return len(self.known)

    @property
    def exhausted(self) -> bool:
        return self._given == len(self.known)

    def next(self) -> PlannedTrial | None:
        if self.exhausted:
            return None
        self._given += 1
        return self.known[self._given - 1]

    def tell(self, trial: PlannedTrial, accuracies: Mapping[str, float] | None) -> None:
        """A grid learns nothing."""


@dataclass(slots=True)
class _Suggestion:
    """One omega of one group; its value is the mean over the seeds, once all of them are told."""

    omega: float
    trials: tuple[PlannedTrial, ...]
    told: dict[str, tuple[float, ...] | None] = field(default_factory=dict)  # by trial key

    @property
    def is_told(self) -> bool:
        return len(self.told) == len(self.trials)

    @property
    def values(self) -> tuple[float, ...] | None:
        """One mean per objective; None when a seed reached no end: a mean over fewer would not compare."""
        values = [self.told[trial.key] for trial in self.trials]
        complete = [value for value in values if value is not None]
        if len(complete) < len(values):
            return None
        return tuple(fmean(of_one) for of_one in zip(*complete, strict=True))


@dataclass(slots=True)
class _Group:
    """The search for one open cell."""

    cell: OpenCell
    name: str  # in the search log
    taken: set[float]  # omegas that the study runs in any case
    num_samples: int  # how many suggestions there will be: fewer than asked for where no other omega is left
    suggestions: list[_Suggestion] = field(default_factory=list)  # those of earlier runs first
    to_give: deque[_Suggestion] = field(default_factory=deque)  # those that this run has yet to hand out

    @property
    def own(self) -> list[_Suggestion]:
        """The suggestions that no method of the study trains in any case, as one that was pasted from a report does."""
        return [suggestion for suggestion in self.suggestions if suggestion.omega not in self.taken]

    @property
    def tried(self) -> set[float]:
        """All omegas that a new suggestion must not repeat."""
        return self.taken | {suggestion.omega for suggestion in self.suggestions}

    @property
    def num_to_come(self) -> int:
        """How many suggestions have yet to be made."""
        return self.num_samples - len(self.suggestions)


class OptunaSource:
    """First the trials that need no search, then what Optuna suggests, group by group in turns.

    Suggestion i of a group is a function of the search's seed, the group, i, and the results of the
    suggestions up to i - max_concurrent. So it depends neither on the number of workers nor on who finishes
    first, and a run that was interrupted anywhere goes on exactly as it would have.
    """

    def __init__(
        self,
        study: Study,
        fixed: Sequence[PlannedTrial],
        cells: Sequence[OpenCell],
        fingerprints: Mapping[Setting, str],
        images: str,
        log: SearchLog,
    ) -> None:
        """Take up the search where the log ends.

        Args:
            study: has a search.
            fixed: the trials that need no search.
            cells: where omega is searched.
            fingerprints: of the data at each imbalance factor and seed; they go into the trial keys.
            images: digest of all images, whatever the seeds; it goes into the name of a search.
            log: suggestions of earlier runs; new ones are recorded before they are handed out.
        """
        assert study.search is not None
        self._study = study
        self._search: OptunaSearch = study.search
        self._fixed = tuple(fixed)
        self._fingerprints = fingerprints
        self._log = log
        self._queue = deque(fixed)
        self._suggestion_of: dict[str, _Suggestion] = {}
        self._groups = [_group(study, cell, fixed, images) for cell in cells]
        for group in self._groups:
            for params in log.asked(group.name)[: self._search.num_samples]:
                self._add(group, params["omega"])
            num_free = len(free_omegas(self._search, group.tried))
            group.num_samples = len(group.suggestions) + min(group.num_to_come, num_free)

    @property
    def num_trials(self) -> int:
        to_come = sum(group.num_to_come for group in self._groups)
        return len(self.known) + to_come * len(self._study.seeds)

    @property
    def known(self) -> tuple[PlannedTrial, ...]:
        searched = (trial for group in self._groups for suggestion in group.own for trial in suggestion.trials)
        return (*self._fixed, *searched)

    @property
    def exhausted(self) -> bool:
        return not self._queue and not any(group.num_to_come or group.to_give for group in self._groups)

    def next(self) -> PlannedTrial | None:
        if not self._queue:
            for group in self._groups:
                self._queue.extend(self._next_of(group))
        return self._queue.popleft() if self._queue else None

    def tell(self, trial: PlannedTrial, accuracies: Mapping[str, float] | None) -> None:
        suggestion = self._suggestion_of.get(trial.key)
        if suggestion is not None:
            values = None
            if accuracies is not None:
                values = tuple(accuracies[objective] for objective in self._search.objectives)
            suggestion.told[trial.key] = values

    def _next_of(self, group: _Group) -> tuple[PlannedTrial, ...]:
        """The trials of the group's next omega; none when it has no more, or has to learn results first."""
        while group.num_to_come and not group.to_give:
            index = len(group.suggestions)
            visible = group.suggestions[: max(0, index - self._search.max_concurrent + 1)]
            if not all(suggestion.is_told for suggestion in visible):
                return ()
            history = [(suggestion.omega, suggestion.values) for suggestion in visible]
            pending = [suggestion.omega for suggestion in group.suggestions[len(visible) :]]
            wanted = suggest_omega(self._search, group.cell.id, history, pending)
            self._add(group, self._recorded(group, index, nearest_free_omega(wanted, self._search, group.tried)))
        return group.to_give.popleft().trials if group.to_give else ()

    def _add(self, group: _Group, omega: float) -> None:
        """One suggestion more. That of a taken omega is not handed out: the trials that run in any case tell of it."""
        cell = cell_of(self._study, group.cell.method.at(omega), group.cell.imbalance_factor)
        suggestion = _Suggestion(omega, plan_cells([cell], self._study.seeds, self._fingerprints))
        group.suggestions.append(suggestion)
        if omega not in group.taken:
            group.to_give.append(suggestion)
        self._suggestion_of |= {trial.key: suggestion for trial in suggestion.trials}

    def _recorded(self, group: _Group, index: int, omega: float) -> float:
        try:
            self._log.record(group.name, index, {"omega": omega})
        except Fenced:  # another driver of this study is one step ahead: what it asked for counts
            return self._log.asked(group.name)[index]["omega"]
        return omega


def trial_source(study: Study, source: SourceData, log: SearchLog) -> TrialSource:
    """The source of a study's trials.

    Args:
        study: a grid, or a search.
        source: the images of the study.
        log: what was suggested before, for a study with a search.

    Raises:
        StudyFileError: the data cannot give what the study asks for.
    """
    fingerprints = fingerprints_of(study, source)
    fixed = plan_cells(cells_of(study), study.seeds, fingerprints)
    if study.search is None:
        return InStages(GridSource(fixed))
    return InStages(OptunaSource(study, fixed, open_cells_of(study), fingerprints, source.fingerprint, log))


def suggest_omega(
    search: OptunaSearch,
    group: str,
    history: Sequence[tuple[float, tuple[float, ...] | None]],
    pending: Sequence[float],
) -> float:
    """What Optuna would try next; a function of the arguments alone.

    Args:
        search: algorithm, range, objectives, seed.
        group: what the omegas are for, so that groups draw different ones.
        history: omegas with their values, larger is better; None, as bad as the worst, where no end was reached.
        pending: omegas under way, which the next one should keep away from.

    Returns:
        An omega of the range.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    low, high = search.omega
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        "omega": optuna.distributions.FloatDistribution(low, high)
    }
    text = f"{search.seed}/{group}/{len(history) + len(pending)}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    asked = optuna.create_study(directions=["maximize"] * len(search.objectives), sampler=_sampler(search, seed))
    known = [values for _, values in history if values is not None]
    if search.algorithm == "gp" and known:  # it passes over pruned trials, and would go where they die again and again
        worst = tuple(min(of_one) for of_one in zip(*known, strict=True))
        history = [(omega, values or worst) for omega, values in history]
    for omega, values in history:
        state = TrialState.PRUNED if values is None else TrialState.COMPLETE
        asked.add_trial(create_trial(state=state, params={"omega": omega}, distributions=distributions, values=values))
    for omega in pending:
        asked.add_trial(create_trial(state=TrialState.RUNNING, params={"omega": omega}, distributions=distributions))
    return float(asked.ask(distributions).params["omega"])


def _sampler(search: OptunaSearch, seed: int) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    match search.algorithm:
        case "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=NUM_RANDOM_OMEGAS)
        case "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=NUM_RANDOM_OMEGAS)
        case "random":
            return samplers.RandomSampler(seed=seed)


def nearest_free_omega(wanted: float, search: OptunaSearch, taken: set[float]) -> float:
    """The nearest omega that was not taken yet, if there is one: samplers like to repeat themselves."""
    return min(free_omegas(search, taken), key=lambda omega: abs(omega - wanted))


def free_omegas(search: OptunaSearch, taken: set[float]) -> list[float]:
    """The omegas in steps of the search that were not taken yet."""
    low = round(search.omega[0] * OMEGAS_PER_UNIT)
    omegas = [rounded_omega((low + step) / OMEGAS_PER_UNIT) for step in range(search.num_omegas)]
    return [omega for omega in omegas if omega not in taken]


def _group(study: Study, cell: OpenCell, fixed: Sequence[PlannedTrial], images: str) -> _Group:
    """A search that asks for something else, or whose trials would all have other keys, is another group and begins
    anew; more samples or seeds go on."""
    assert study.search is not None
    config = cell_of(study, cell.method.at(1.0), cell.imbalance_factor).config  # 1.0 stands for any omega
    identity = {
        "search": study.search.model_dump(mode="json", exclude={"num_samples"}),
        "trial": key_parts(config, images),
    }
    taken = set()
    for trial in fixed:
        reweighting = trial.config.reweighting
        if reweighting is not None:
            anywhere = reweighting.model_copy(update={"omega": 1.0})
            if trial.cell.config.model_copy(update={"reweighting": anywhere}) == config:
                taken.add(reweighting.omega)
    return _Group(cell, f"{cell.id}#{digest_of_parts(identity)[:12]}", taken, study.search.num_samples)
