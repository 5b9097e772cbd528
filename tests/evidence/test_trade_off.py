from __future__ import annotations

import math

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from ccar.evidence.trade_off import GROUPS, undominated


def cells(rows, finished=3):
    means = pd.DataFrame(rows, columns=[f"{group}_mean" for group in GROUPS], index=range(10, 10 + len(rows)))
    return means.assign(finished=finished, planned=3)


def test_a_cell_that_another_one_beats_in_all_groups_is_off_the_front():
    front = undominated(cells([(0.8, 0.5, 0.2), (0.7, 0.5, 0.3), (0.7, 0.4, 0.2)]))
    assert front.tolist() == [True, True, False]


def test_of_two_equal_cells_neither_beats_the_other():
    assert undominated(cells([(0.8, 0.5, 0.2), (0.8, 0.5, 0.2)])).all()


def test_a_group_without_classes_has_no_say_and_a_cell_without_results_is_on_no_front():
    front = undominated(cells([(0.8, 0.5, math.nan), (0.7, 0.4, math.nan), (math.nan, math.nan, math.nan)]))
    assert front.tolist() == [True, False, False]
    assert not undominated(cells([(math.nan, math.nan, math.nan)])).any()


def test_a_cell_that_lacks_seeds_is_on_no_front_and_keeps_no_other_one_off():
    front = undominated(cells([(0.9, 0.9, 0.9), (0.8, 0.5, 0.2), (0.7, 0.4, 0.2)], finished=[2, 3, 3]))
    assert front.tolist() == [False, True, False]


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12))
def test_the_front_is_what_comparing_all_pairs_finds(rows):
    expected = [
        not any(all(o >= v for o, v in zip(other, own, strict=True)) and other != own for other in rows) for own in rows
    ]
    assert undominated(cells(np.array(rows, dtype=float))).tolist() == expected
