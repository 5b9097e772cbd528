"""Class counts and groups of the benchmarks against the numbers of the literature."""

from __future__ import annotations

import pytest

from ccar.evidence.benchmarks import (
    BENCHMARKS,
    benchmark_class_counts,
    benchmark_group_sizes,
    largest_imbalance_factor,
    needs_imbalance_factor,
)

# Training images (counts rounded down) and classes with many / medium / few images, as LDAM, BALMS and BBN cut them.
CUT = {
    ("cifar10_lt", 10): (20_431, (10, 0, 0)),
    ("cifar10_lt", 50): (13_996, (9, 1, 0)),
    ("cifar10_lt", 100): (12_406, (8, 2, 0)),
    ("cifar10_lt", 200): (11_203, (7, 3, 0)),
    ("cifar100_lt", 10): (19_573, (69, 31, 0)),
    ("cifar100_lt", 20): (15_907, (53, 47, 0)),
    ("cifar100_lt", 50): (12_608, (41, 41, 18)),
    ("cifar100_lt", 100): (10_847, (35, 35, 30)),
    ("cifar100_lt", 200): (9_502, (30, 31, 39)),
}


@pytest.mark.parametrize(("data", "factor"), CUT)
def test_tails_are_cut_as_in_the_literature(data, factor):
    total, groups = CUT[data, factor]
    assert sum(benchmark_class_counts(data, factor)) == total
    assert benchmark_group_sizes(data, factor) == groups


def test_fixed_lists_have_the_published_groups():
    assert benchmark_group_sizes("imagenet_lt") == (385, 479, 136)
    assert benchmark_group_sizes("places_lt") == (131, 163, 71)
    assert benchmark_group_sizes("inaturalist2018") == (842, 4076, 3224)


def test_only_tails_that_are_cut_need_an_imbalance_factor():
    assert [data for data in BENCHMARKS if needs_imbalance_factor(data)] == ["cifar10_lt", "cifar100_lt"]


def test_the_largest_imbalance_factor_leaves_every_class_an_image():
    assert min(benchmark_class_counts("cifar100_lt", largest_imbalance_factor("cifar100_lt"))) == 1
