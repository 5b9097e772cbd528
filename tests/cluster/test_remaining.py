from __future__ import annotations

from types import SimpleNamespace

import pytest

from ccar.cluster.remaining import RemainingTrials
from ccar.store.records import TrialRecord
from ccar.study.search import GridSource
from tests.store.examples import epoch


class Records:
    """A store that knows of each trial how it stands, and nothing else."""

    def __init__(self, **status):
        self.status = status

    def read(self, key):
        return TrialRecord(key=key, status=self.status.get(key, "absent"), epochs=(epoch(1),))


def grid():
    return GridSource([SimpleNamespace(key=key) for key in "abc"])


def handed_out(remaining):
    keys = []
    while not remaining.exhausted:
        keys.append(remaining.next().key)
    return keys


@pytest.mark.parametrize(
    ("status", "stops_early", "is_done"),
    [
        ("finished", False, True),
        ("diverged", False, True),
        ("stopped", False, False),
        ("stopped", True, True),
        ("failed", True, False),
        ("unfinished", True, False),
    ],
)
def test_what_has_ended_is_not_handed_out_and_where_trials_are_stopped_what_was_stopped_has_ended(
    status, stops_early, is_done
):
    remaining = RemainingTrials(grid(), Records(b=status), stops_early=stops_early)
    assert (remaining.num_done, remaining.num_trials) == (is_done, 3 - is_done)
    assert handed_out(remaining) == [key for key in "abc" if key != "b" or not is_done]


@pytest.mark.parametrize("stops_early", [False, True])
def test_what_another_driver_has_ended_meanwhile_is_handed_out_only_where_a_rule_has_to_hear_of_it(stops_early):
    store = Records()
    remaining = RemainingTrials(grid(), store, stops_early=stops_early)
    store.status = {"c": "finished"}
    assert handed_out(remaining) == ["a", "b", *(["c"] if stops_early else [])]
    assert (remaining.num_done, remaining.num_trials) == (0, 3 if stops_early else 2)
