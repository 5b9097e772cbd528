"""What the stopping rules answer after a crash: every moment at which a study can be killed, without training."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field

import pytest

from ccar.cluster.early_stopping import StoppingRules
from ccar.store.records import TrialRecord
from ccar.study.definition import EarlyStopping
from tests.store.examples import CONFIG, epoch, evaluation

NUM_EPOCHS = 9
RULES = {
    "asha": EarlyStopping(algorithm="asha", grace_epochs=1, reduction_factor=2),
    "median": EarlyStopping(algorithm="median", grace_epochs=2),
}
FACTOR = CONFIG.data.imbalance_factor


@pytest.fixture(params=RULES)
def definition(request):
    return RULES[request.param]


def curves(num_trials=9):
    """Accuracies by trial and epoch that rise, cross, and differ by more than luck between trials."""
    chance = random.Random(0)
    return {
        f"trial {number}": [
            (chance.gauss(0, 0.05) + chance_of_trial) * number_of_epoch / NUM_EPOCHS
            for number_of_epoch in range(1, NUM_EPOCHS + 1)
        ]
        for number in range(num_trials)
        for chance_of_trial in [chance.uniform(0.4, 0.9)]
    }


class Killed(Exception):
    """The driver is no more."""


@dataclass
class Life:
    """How long a driver lives: so many moments at which it can be killed."""

    moments: float

    def moment(self):
        self.moments -= 1
        if self.moments < 0:
            raise Killed


@dataclass
class Study:
    """Trials that are trained one after another; what it keeps is what the store would."""

    curves: dict[str, list[float]]
    committed: dict[str, int] = field(default_factory=dict)  # epochs
    status: dict[str, str] = field(default_factory=dict)

    def records(self):
        for key, num_epochs in self.committed.items():
            accuracies = self.curves[key][:num_epochs]
            yield TrialRecord(
                key=key,
                status=self.status[key],
                config=CONFIG,
                epochs=tuple(
                    dataclasses.replace(epoch(number), validation=evaluation(accuracy))
                    for number, accuracy in enumerate(accuracies, start=1)
                ),
            )

    def run(self, definition, life):
        """What workers and the scheduler do, with a moment to be killed after every commit and every answer."""
        rules = StoppingRules(definition, self.records())
        for key, curve in self.curves.items():
            if self.status.get(key) in ("finished", "stopped"):
                continue
            self.status[key] = "unfinished"
            earlier = self.committed.get(key, 0)
            for number, accuracy in enumerate(curve, start=1):
                self.committed[key] = max(number, earlier)
                life.moment()
                stops = rules.tell(key, FACTOR, number, accuracy, decided=number < earlier or number == len(curve))
                life.moment()
                if stops and number >= earlier:
                    self.status[key] = "stopped"
                    break
            else:
                self.status[key] = "finished"


def undisturbed(definition):
    study, life = Study(curves()), Life(10_000)
    study.run(definition, life)
    return study, 10_000 - life.moments


def test_a_rule_stops_some_trials_and_at_more_than_one_epoch(definition):
    study, _ = undisturbed(definition)
    stopped = {study.committed[key] for key, status in study.status.items() if status == "stopped"}
    assert len(stopped) > 1
    assert "finished" in study.status.values()


def test_a_study_that_is_killed_at_any_moment_stops_the_same_trials_after_the_same_epochs(definition):
    whole, moments = undisturbed(definition)
    for moment in range(moments):
        study = Study(curves())
        with pytest.raises(Killed):
            study.run(definition, Life(moment))
        study.run(definition, Life(10_000))
        assert (study.committed, study.status) == (whole.committed, whole.status)


def test_so_does_one_that_is_killed_again_and_again(definition):
    whole, _ = undisturbed(definition)
    chance, study, deaths = random.Random(1), Study(curves()), 0
    while len(study.status) < len(study.curves) or "unfinished" in study.status.values():
        try:
            study.run(definition, Life(chance.randint(1, 40)))
        except Killed:
            deaths += 1
    assert deaths > 3
    assert (study.committed, study.status) == (whole.committed, whole.status)


def test_trials_that_ran_side_by_side_are_known_whether_they_have_ended_or_not(definition):
    *better, (last, curve) = sorted(curves().items(), key=lambda item: -item[1][4])
    names = [key for key, _ in better]
    for status in ("unfinished", "failed", "stopped"):
        side_by_side = Study(dict(better), dict.fromkeys(names, 5), dict.fromkeys(names, status))
        rules = StoppingRules(definition, side_by_side.records())
        assert any(rules.tell(last, FACTOR, number, curve[number - 1], decided=False) for number in range(1, 6))


def worst_of(num_epochs, status):
    """A study whose trials have got so far; all have finished but the worst one, which is the first of them."""
    worst, *better = sorted(curves(), key=lambda key: curves()[key][num_epochs - 1])
    statuses = {worst: status, **dict.fromkeys(better, "finished")}
    return worst, Study(curves(), dict.fromkeys(statuses, num_epochs), statuses)


def test_the_last_epoch_of_a_trial_that_was_lost_is_judged_by_all_that_the_store_has(definition):
    worst, stored = worst_of(4, "unfinished")
    rules = StoppingRules(definition, stored.records())
    assert rules.tell(worst, FACTOR, 4, curves()[worst][3], decided=False)


def test_a_trial_that_has_gone_on_past_a_comparison_is_not_stopped_for_it_later():
    worst, stored = worst_of(6, "unfinished")
    others_first = reversed([*stored.records()])
    rules = StoppingRules(RULES["asha"], others_first)  # which compares after epochs 1, 2, 4 and 8
    assert not rules.tell(worst, FACTOR, 7, curves()[worst][6], decided=False)


def test_a_result_that_is_told_again_gets_the_first_answer_and_counts_once(definition):
    """As by a worker that goes on with the trial of one that was lost."""
    whole, _ = undisturbed(definition)
    once, again = StoppingRules(definition, ()), StoppingRules(definition, ())
    for key, reached in whole.committed.items():
        results = list(enumerate(whole.curves[key][:reached], start=1))
        answers = [once.tell(key, FACTOR, *result, decided=False) for result in results]
        for _ in range(2):
            assert [again.tell(key, FACTOR, *result, decided=False) for result in results] == answers


def test_a_trial_that_another_driver_trains_on_in_spite_of_a_stop_is_still_to_stop(definition):
    whole, _ = undisturbed(definition)
    stopped = next(key for key, status in whole.status.items() if status == "stopped")
    rules = StoppingRules(definition, (record for record in whole.records() if record.key != stopped))
    answers = [rules.tell(stopped, FACTOR, *result, decided=False) for result in enumerate(whole.curves[stopped], 1)]
    first = answers.index(True)
    assert answers == [False] * first + [True] * (NUM_EPOCHS - first)


def test_trials_of_other_imbalance_factors_are_not_compared(definition):
    rules = StoppingRules(definition, ())
    for number in range(1, NUM_EPOCHS):
        for key in range(5):
            assert not rules.tell(f"head {key}", 1.0, number, 0.875, decided=False)
        assert not rules.tell("tail", 100.0, number, 0.125, decided=False)
