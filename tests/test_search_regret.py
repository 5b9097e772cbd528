"""The replay of searches tries what is stored, each candidate once, and finds a best one that stands out."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.search_regret import SEQUENTIAL, Search, asha, measure_sequential, racing

OMEGAS = tuple(round(0.1 * step, 1) for step in range(1, 9))


@pytest.fixture
def search() -> Search:
    """Two base losses at eight omegas; each trial is what its candidate is from the first epoch on, best at 0.6."""
    candidates = tuple((base, omega) for base in ("focal", "ldam") for omega in OMEGAS)
    levels = np.array([0.8 - abs(omega - 0.6) + 0.01 * (base == "ldam") for base, omega in candidates])
    return Search(candidates, np.broadcast_to(levels[:, None, None], (16, 5, 9)), np.ones((16, 5, 9)))


@pytest.mark.parametrize("name", ["grid", "random", "TPE"])  # GP goes the same way, and takes seconds
def test_every_order_comes_to_each_candidate_once(search, name):
    order, _ = SEQUENTIAL[name]
    assert sorted(order(search, np.random.default_rng(0))) == list(range(16))


@pytest.mark.parametrize("rule", [asha, racing])
def test_what_stands_out_is_found_for_less(search, rule):
    chosen, cost = rule(search, np.random.default_rng(0))
    assert search.candidates[chosen] == ("ldam", 0.6)
    assert 0 < cost < 0.9


def test_the_whole_grid_has_no_regret(search):
    order, _ = SEQUENTIAL["grid"]
    assert list(measure_sequential([search], order, 3)) == ["21.00", "1.00", "1.00", "0.00", "88%", "88%"]
