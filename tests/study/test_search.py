"""Both members of the family of trial sources, and what a searcher must keep through crashes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccar.data.image_set import ImageSet, SourceData
from ccar.errors import Fenced
from ccar.store.trial_store import TrialStore
from ccar.study.definition import NUM_RANDOM_OMEGAS, OptunaSearch
from ccar.study.expansion import PlannedTrial, method_of, plan_trials
from ccar.study.methods import entry_of
from ccar.study.search import TrialSource, nearest_free_omega, suggest_omega, trial_source

from .test_expansion import study_of

METHODS = {"bases": ["cross_entropy", "focal"], "reweighting": {}}
FOCAL = {"bases": ["focal"], "reweighting": {}}


class MemoryLog:
    """The in-memory twin of the store's search log."""

    def __init__(self) -> None:
        self.params: dict[str, list[dict[str, float]]] = {}

    def asked(self, group: str) -> list[dict[str, float]]:
        return list(self.params.get(group, []))

    def record(self, group: str, index: int, params: Mapping[str, float]) -> None:
        known = self.params.setdefault(group, [])
        if index != len(known):
            raise Fenced(f"{group} has {len(known)} suggestions")
        known.append(dict(params))


@pytest.fixture(params=["memory", "store"])
def log(request, tmp_path):
    return MemoryLog() if request.param == "memory" else TrialStore(tmp_path).search_log("made")


def searching(algorithm="tpe", num_samples=14, *, methods=METHODS, seeds=(0, 1), factors=(10,), **options):
    search = {"algorithm": algorithm, "num_samples": num_samples, "omega": [0.05, 1.0], **options}
    return study_of(methods=methods, search=search, seeds=seeds, factors=factors)


def accuracy_of(trial: PlannedTrial) -> dict[str, float] | None:
    """Best at omega 0.7, with some noise from the seed; one seed diverges at large omegas."""
    reweighting = trial.config.reweighting
    if reweighting is None:
        return {"balanced_accuracy": 0.5, "accuracy": 0.6}
    if reweighting.omega > 0.95 and trial.seed == 1:
        return None
    accuracy = 0.8 - (reweighting.omega - 0.7) ** 2 + trial.seed * 0.001
    return {"balanced_accuracy": accuracy, "accuracy": 1 - reweighting.omega}


def run(
    source: TrialSource, *, workers: int = 1, stop_after: int | None = None, order=None, reached=accuracy_of
) -> list[str]:
    """Run trials as so many workers would, telling results in a shuffled order; the names as handed out."""
    order = order or random.Random(0)
    handed_out: list[str] = []
    under_way: list[PlannedTrial] = []
    while not source.exhausted or under_way:
        trial = source.next() if len(under_way) < workers and not source.exhausted else None
        if trial is not None:
            handed_out.append(trial.name)
            under_way.append(trial)
            if len(handed_out) == stop_after:
                break
            continue
        assert under_way, "nothing runs and nothing comes: the search is stuck"
        ended = under_way.pop(order.randrange(len(under_way)))
        source.tell(ended, reached(ended))
    return handed_out


def omegas(log: MemoryLog) -> dict[str, list[float]]:
    return {group: [params["omega"] for params in asked] for group, asked in log.params.items()}


def test_a_grid_hands_out_every_trial_once_in_order(ten_classes):
    study = study_of(methods={"bases": ["focal"], "reweighting": {"omega": [0.5, 1.0]}}, seeds=[0, 1])
    planned = plan_trials(study, ten_classes)
    source = trial_source(study, ten_classes, MemoryLog())
    assert (source.known, source.num_trials) == (planned, 6)
    assert run(source) == [trial.name for trial in planned]
    assert source.exhausted
    assert source.next() is None


@pytest.mark.parametrize("objectives", [["balanced_accuracy"], ["balanced_accuracy", "accuracy"]])
@pytest.mark.parametrize("algorithm", ["tpe", "gp", "random"])
def test_a_search_runs_all_its_samples_over_all_seeds(ten_classes, log, algorithm, objectives):
    methods = {"bases": ["focal"], "reweighting": {}}
    study = searching(algorithm, 12, methods=methods, objectives=objectives)
    source = trial_source(study, ten_classes, log)
    handed_out = run(source, workers=3)
    assert len(handed_out) == len(set(handed_out)) == source.num_trials == 2 + 12 * 2
    assert sorted(trial.name for trial in source.known) == sorted(handed_out)
    assert len({trial.key for trial in source.known}) == len(handed_out)
    for trial in source.known[2:]:
        assert 0.05 <= trial.config.reweighting.omega <= 1.0


def test_methods_without_an_omega_to_look_for_come_first(ten_classes):
    source = trial_source(searching(num_samples=2), ten_classes, MemoryLog())
    assert [source.next().name for _ in range(4)] == [
        "if10/cross_entropy seed 0",
        "if10/cross_entropy seed 1",
        "if10/focal seed 0",
        "if10/focal seed 1",
    ]


def test_every_base_and_imbalance_factor_has_a_search_of_its_own(ten_classes):
    log = MemoryLog()
    run(trial_source(searching(num_samples=3, factors=[10, 50]), ten_classes, log))
    assert len(log.params) == 4
    assert len({tuple(found) for found in omegas(log).values()}) == 4


def test_the_searcher_learns_where_the_best_omega_is(ten_classes):
    log = MemoryLog()
    study = searching("gp", 20, methods={"bases": ["focal"], "reweighting": {}}, max_concurrent=1)
    run(trial_source(study, ten_classes, log))
    ((*_, before_last, last),) = omegas(log).values()
    assert abs(before_last - 0.7) < 0.05
    assert abs(last - 0.7) < 0.05


@pytest.mark.parametrize("algorithm", ["tpe", "gp"])
def test_a_searcher_draws_at_random_until_four_omegas_have_results(algorithm):
    search = OptunaSearch(algorithm=algorithm, num_samples=8, omega=(0.05, 1.0))
    omegas = [0.2, 0.4, 0.6, 0.8]

    def suggested(num_results, best):
        history = [(omega, (1 - (omega - best) ** 2,)) for omega in omegas[:num_results]]
        return suggest_omega(search, "group", history, pending=[])

    assert suggested(3, best=0.2) == suggested(3, best=0.8)
    assert suggested(4, best=0.2) < 0.5 < suggested(4, best=0.8)


def test_the_document_says_how_many_omegas_are_random():
    text = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    default = OptunaSearch(algorithm="tpe", num_samples=1, omega=(0.05, 1.0)).max_concurrent
    assert f"learn once {NUM_RANDOM_OMEGAS} omegas have results" in text
    assert f"the first {NUM_RANDOM_OMEGAS - 1} + `max_concurrent` of a search are\nrandom" in text
    assert f"random, {NUM_RANDOM_OMEGAS - 1 + default} unless said otherwise" in text


@pytest.mark.parametrize("workers", [1, 3, 50])
def test_suggestions_depend_neither_on_the_workers_nor_on_who_ends_first(ten_classes, workers):
    study, reference, log = searching(), MemoryLog(), MemoryLog()
    run(trial_source(study, ten_classes, reference))
    run(trial_source(study, ten_classes, log), workers=workers, order=random.Random(workers))
    assert log.params == reference.params


def test_another_seed_or_other_results_give_other_suggestions(ten_classes):
    logs = []
    for options in ({}, {"seed": 1}, {"objectives": ["accuracy"]}):
        logs.append(MemoryLog())
        run(trial_source(searching(**options), ten_classes, logs[-1]))
    first, other_seed, other_results = [sorted(map(tuple, omegas(log).values())) for log in logs]
    assert first != other_seed
    assert first != other_results


@given(stops=st.lists(st.integers(1, 30), max_size=4), workers=st.integers(1, 6))
@settings(max_examples=12, deadline=None)
def test_a_search_that_is_interrupted_anywhere_goes_on_as_if_it_had_not_been(ten_classes, stops, workers):
    study, reference, log = searching(), MemoryLog(), MemoryLog()
    whole = run(trial_source(study, ten_classes, reference))
    for stop in stops:  # a crash: what was handed out is in the log, and nothing else is remembered
        run(trial_source(study, ten_classes, log), workers=workers, stop_after=stop)
    again = run(trial_source(study, ten_classes, log), workers=workers)
    assert log.params == reference.params
    assert sorted(again) == sorted(whole)


def test_a_finished_search_that_runs_again_suggests_nothing_new(ten_classes, log):
    study = searching(num_samples=5)
    first = run(trial_source(study, ten_classes, log))
    source = trial_source(study, ten_classes, log)
    assert {trial.name for trial in source.known} == set(first)
    assert sorted(run(source)) == sorted(first)


@pytest.mark.parametrize("first", [5, 10])
def test_more_samples_go_on_where_the_search_ended(ten_classes, first):
    log, whole = MemoryLog(), MemoryLog()
    run(trial_source(searching(num_samples=first), ten_classes, log))
    run(trial_source(searching(num_samples=14), ten_classes, log))
    run(trial_source(searching(num_samples=14), ten_classes, whole))
    assert log.params == whole.params


def test_more_seeds_repeat_the_omegas_that_were_tried(ten_classes):
    log = MemoryLog()
    first = run(trial_source(searching(num_samples=5), ten_classes, log))
    before = omegas(log)
    again = run(trial_source(searching(num_samples=5, seeds=(0, 1, 2)), ten_classes, log))
    assert omegas(log) == before
    assert set(first) < set(again)


def test_another_range_begins_a_search_of_its_own(ten_classes):
    log = MemoryLog()
    run(trial_source(searching(num_samples=3), ten_classes, log))
    narrow = searching(num_samples=3)
    narrow = narrow.model_copy(update={"search": narrow.search.model_copy(update={"omega": (0.9, 1.0)})})
    source = trial_source(narrow, ten_classes, log)
    run(source)
    assert all(trial.config.reweighting.omega >= 0.9 for trial in source.known[4:])


def changed(study, part, **values):
    return study.model_copy(update={part: getattr(study, part).model_copy(update=values)})


def searched(study, images) -> MemoryLog:
    log = MemoryLog()
    run(trial_source(study, images, log))
    return log


def test_a_search_goes_on_where_images_or_weights_lie_elsewhere_or_the_recipe_has_another_name(ten_classes, tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).write_bytes(b"weights")
    study = searching(num_samples=2).model_copy(update={"model": "resnet10", "pretrained": tmp_path / "here"})
    log = searched(study, ten_classes)
    for same in (
        changed(study, "data", root=tmp_path, lists=tmp_path, counts="listed", download=True),
        study.model_copy(update={"pretrained": tmp_path / "there"}),
        changed(study, "recipe", name="mine"),
    ):
        assert searched(same, ten_classes).params == log.params


def test_other_images_or_weights_or_another_training_begin_a_search_of_their_own(ten_classes, tmp_path, monkeypatch):
    for name in ("weights", "others"):
        (tmp_path / name).write_text(name)
    study = searching(num_samples=2).model_copy(update={"model": "resnet10", "pretrained": tmp_path / "weights"})
    images = ImageSet(ten_classes.train.images + 1, ten_classes.train.labels)
    logs = [
        searched(study, ten_classes),
        searched(study, SourceData.of(images, ten_classes.test, ten_classes.class_names)),
        searched(study.model_copy(update={"pretrained": tmp_path / "others"}), ten_classes),
        searched(changed(study, "recipe", epochs=3), ten_classes),
    ]
    monkeypatch.setattr("ccar.store.key.code_digest", lambda: "0" * 64)
    logs.append(searched(study, ten_classes))
    assert len({name for log in logs for name in log.params}) == 5 * 2


def test_the_first_omegas_are_the_same_whatever_is_trained(ten_classes):
    study = searching(num_samples=2)
    first, other = (searched(each, ten_classes) for each in (study, changed(study, "recipe", epochs=3)))
    assert list(omegas(first).values()) == list(omegas(other).values())


def test_two_drivers_of_one_study_ask_for_the_same(ten_classes, log):
    study = searching(num_samples=4, max_concurrent=2)
    first, second = (trial_source(study, ten_classes, log) for _ in range(2))
    handed_out = [[], []]
    while not (first.exhausted and second.exhausted):
        for source, names in ((first, handed_out[0]), (second, handed_out[1])):
            trial = source.next()
            if trial is not None:
                names.append(trial.name)
                source.tell(trial, accuracy_of(trial))
    assert handed_out[0] == handed_out[1]


def test_what_another_driver_has_just_recorded_is_handed_out_and_not_our_own_suggestion(ten_classes):
    class OneStepAhead(MemoryLog):
        def record(self, group, index, params):
            super().record(group, index, {"omega": 0.123 + index / 1000})
            raise Fenced("another driver was faster")

    source = trial_source(searching(num_samples=3, methods=FOCAL), ten_classes, OneStepAhead())
    run(source)
    assert [trial.config.reweighting.omega for trial in source.known[2::2]] == [0.123, 0.124, 0.125]


def test_an_omega_of_which_one_seed_reached_no_end_counts_as_one_of_which_none_did(ten_classes):
    def reached_by(seeds):
        def reached(trial):
            reweighting = trial.config.reweighting
            lost = reweighting is not None and reweighting.omega > 0.4 and trial.seed in seeds
            return None if lost else accuracy_of(trial)

        return reached

    logs = [MemoryLog(), MemoryLog()]
    for log, seeds in zip(logs, ([1], [0, 1]), strict=True):
        run(trial_source(searching(num_samples=14, methods=FOCAL), ten_classes, log), reached=reached_by(seeds))
    assert logs[0].params == logs[1].params


def test_an_omega_that_runs_in_any_case_is_not_suggested(ten_classes):
    fixed = [{"base": "focal", "reweighting": {"omega": omega / 1000}} for omega in range(500, 506)]
    study = searching("random", 5, methods={"bases": ["focal"], "reweighting": {}, "extra": fixed})
    study = study.model_copy(update={"search": study.search.model_copy(update={"omega": (0.5, 0.51)})})
    source = trial_source(study, ten_classes, MemoryLog())
    handed_out = run(source)
    assert len(handed_out) == len(set(handed_out)) == source.num_trials


def entries_of(study, trials, label=None):
    """The cells of these trials as `best_omega.yaml` has them, to be written under `methods.extra`."""
    entries = [entry_of(method_of(study, trial.cell)) for trial in trials]
    return [{**entry, "label": f"{label} {number}"} if label else entry for number, entry in enumerate(entries)]


@pytest.mark.parametrize("label", [None, "found"])
def test_omegas_that_a_search_found_may_be_written_into_its_own_study(ten_classes, log, label):
    study = searching(num_samples=6, methods=FOCAL, seeds=(0, 1))
    before = trial_source(study, ten_classes, log)
    run(before)
    found = before.known[2::4]  # every second omega, the first one and not the last
    extra = entries_of(study, found, label)
    source = trial_source(searching(num_samples=6, methods={**FOCAL, "extra": extra}), ten_classes, log)
    names = [(trial.cell.id, trial.seed) for trial in source.known]
    assert len(extra) == 3
    assert len(names) == len(set(names)) == source.num_trials == before.num_trials
    assert {trial.key for trial in source.known} == {trial.key for trial in before.known}
    assert sorted(run(source)) == sorted(trial.name for trial in source.known)
    assert source.exhausted


def test_a_search_whose_last_omega_was_written_into_the_study_is_exhausted_after_the_last_trial(ten_classes, log):
    study = searching(num_samples=3, methods=FOCAL)
    before = trial_source(study, ten_classes, log)
    run(before)
    methods = {**FOCAL, "extra": entries_of(study, before.known[-2:-1])}
    source = trial_source(searching(num_samples=3, methods=methods), ten_classes, log)
    assert len(run(source)) == source.num_trials == before.num_trials


def test_a_search_ends_when_every_omega_of_its_range_was_tried(ten_classes, log):
    extra = [{"base": "focal", "reweighting": {"omega": 0.502}}]
    study = searching(num_samples=5, methods={**FOCAL, "extra": extra}, omega=[0.5, 0.504])
    source = trial_source(study, ten_classes, log)
    handed_out = run(source)
    assert len(handed_out) == len(set(handed_out)) == len(source.known) == source.num_trials == 2 * (1 + 5)


def test_a_search_still_learns_from_an_omega_that_was_written_into_its_study(ten_classes):
    log, whole = MemoryLog(), MemoryLog()
    study = searching(num_samples=8, methods=FOCAL)
    before = trial_source(study, ten_classes, log)
    run(before)
    methods = {**FOCAL, "extra": entries_of(study, before.known[2::4])}
    run(trial_source(searching(num_samples=14, methods=methods), ten_classes, log))
    run(trial_source(searching(num_samples=14, methods=FOCAL), ten_classes, whole))
    assert log.params == whole.params


def test_an_omega_without_a_result_counts_as_worse_than_any():
    search = OptunaSearch(algorithm="tpe", num_samples=40, omega=(0.05, 1.0))
    history = [(number / 100, (0.5,) if number < 50 else None) for number in range(10, 90, 4)]
    suggested = [suggest_omega(search, f"group {number}", history, []) for number in range(30)]
    assert sum(omega < 0.55 for omega in suggested) > 20


def test_a_gaussian_process_stays_away_from_where_trials_die():
    search = OptunaSearch(algorithm="gp", num_samples=40, omega=(0.05, 1.0))
    history = [(0.1, (0.2,)), (0.2, (0.4,)), (0.3, (0.5,)), (0.4, (0.6,)), (0.5, None), (0.6, None), (0.7, None)]
    suggested = [suggest_omega(search, f"group {number}", history, []) for number in range(5)]
    assert max(suggested) < 0.5


@pytest.mark.parametrize(
    ("algorithm", "best", "omegas"),
    [("gp", 0.7, [0.2, 0.4, 0.6, 0.65, 0.75, 0.8]), ("tpe", 0.5, [number / 100 for number in range(10, 100, 8)])],
)
def test_a_suggestion_keeps_away_from_the_omegas_under_way(algorithm, best, omegas):
    search = OptunaSearch(algorithm=algorithm, num_samples=40, omega=(0.05, 1.0))
    history = [(omega, (1 - (omega - best) ** 2,)) for omega in omegas]
    under_way = [best + step / 100 for step in range(-4, 5, 2)]
    for number in range(5):
        alone, beside = (suggest_omega(search, f"group {number}", history, pending) for pending in ([], under_way))
        assert abs(alone - best) < 0.1 < abs(beside - best)


def test_the_nearest_free_omega_stays_in_the_range():
    search = OptunaSearch(algorithm="tpe", num_samples=3, omega=(0.9, 1.0))
    assert nearest_free_omega(0.95, search, set()) == 0.95
    assert nearest_free_omega(0.9999, search, {1.0}) == 0.999
    assert nearest_free_omega(0.9, search, {0.9, 0.901}) == 0.902
