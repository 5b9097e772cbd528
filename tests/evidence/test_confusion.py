from __future__ import annotations

import math

from ccar.evidence.confusion import mean_confusions
from ccar.metrics.confusion import Confusions


def confusions(*pairs: tuple[int, int, int]) -> Confusions:
    labels, predicted, counts = zip(*pairs, strict=True)
    return Confusions(labels=labels, predicted=predicted, counts=counts)


def test_a_cell_has_the_mean_over_its_seeds_and_a_seed_without_the_pair_counts_as_none():
    table = mean_confusions([("a", [confusions((0, 1, 6), (2, 0, 4)), confusions((0, 1, 2))])], 10)
    assert table["a"].to_dict() == {(0, 1): 4.0, (2, 0): 2.0}


def test_the_pairs_that_any_cell_confuses_most_come_first_and_the_others_are_left_out():
    table = mean_confusions([("a", [confusions((0, 1, 6), (2, 0, 4))]), ("b", [confusions((2, 0, 9), (1, 2, 1))])], 2)
    assert list(table.index) == [(2, 0), (0, 1)]
    assert table["b"][(2, 0)] == 9
    assert math.isnan(table["b"][(0, 1)])


def test_cells_of_which_nothing_was_kept_have_no_column():
    assert mean_confusions([("a", [])], 10).empty
    assert list(mean_confusions([("a", []), ("b", [confusions((0, 1, 1))])], 10).columns) == ["b"]
