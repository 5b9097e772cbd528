from __future__ import annotations

import math

from ccar.reports.wording import counted, interval, listed, more_seeds, percent, points


def test_accuracies_are_per_cent_with_their_spread():
    assert percent(0.38432, 0.00304) == "38.43 ± 0.30"
    assert percent(0.5) == "50.00"
    assert percent(math.nan) == "–"


def test_differences_are_signed_points():
    assert [points(0.0042), points(-0.001), points(0.0), points(math.nan)] == ["+0.42", "−0.10", "+0.00", "–"]


def test_what_rounds_to_nothing_has_no_sign_of_its_own():
    assert points(-0.00001) == "+0.00"


def test_an_interval_has_two_ends_or_is_not_there():
    assert interval(-0.001, 0.0094) == "−0.10 to +0.94"
    assert interval(math.nan, math.nan) == ""


def test_a_number_of_seeds_is_told_where_it_is_known_and_could_be_trained():
    assert [more_seeds(5.0), more_seeds(math.nan), more_seeds(math.inf)] == ["5", "", ""]


def test_counts_agree_with_their_noun():
    assert [counted(1, "seed"), counted(2, "base loss", "base losses")] == ["1 seed", "2 base losses"]


def test_lists_read_as_in_a_sentence():
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
