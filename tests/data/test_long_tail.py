from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccar.data.long_tail import data_fingerprint, long_tailed_counts, split_long_tailed
from ccar.errors import DataError
from tests.data.folders import data_config

CIFAR10_COUNTS = {
    10: [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500],
    50: [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100],
    100: [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50],
    200: [5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25],
}
CIFAR100_IF100_COUNTS = [
    *(500, 477, 455, 434, 415, 396, 378, 361, 344, 328, 314, 299, 286, 273, 260, 248, 237, 226, 216, 206),
    *(197, 188, 179, 171, 163, 156, 149, 142, 135, 129, 123, 118, 112, 107, 102, 98, 93, 89, 85, 81),
    *(77, 74, 70, 67, 64, 61, 58, 56, 53, 51, 48, 46, 44, 42, 40, 38, 36, 35, 33, 32),
    *(30, 29, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 15, 14, 13, 13, 12),
    *(12, 11, 11, 10, 10, 9, 9, 8, 8, 7, 7, 7, 6, 6, 6, 6, 5, 5, 5, 5),
]


@pytest.mark.parametrize("imbalance_factor", CIFAR10_COUNTS)
def test_the_counts_of_cifar10_are_the_published_ones(imbalance_factor):
    assert long_tailed_counts(5000, imbalance_factor, 10).tolist() == CIFAR10_COUNTS[imbalance_factor]


def test_the_counts_of_cifar100_at_factor_100_are_the_published_ones():
    assert long_tailed_counts(500, 100, 100).tolist() == CIFAR100_IF100_COUNTS


@pytest.mark.parametrize(
    ("largest", "num_classes", "totals"),
    [
        (5000, 10, {10: 20431, 20: 17023, 50: 13996, 100: 12406, 200: 11203}),
        (500, 100, {10: 19573, 20: 15907, 50: 12608, 100: 10847, 200: 9502}),
    ],
)
def test_the_totals_are_the_published_ones(largest, num_classes, totals):
    assert {factor: long_tailed_counts(largest, factor, num_classes).sum() for factor in totals} == totals


@pytest.mark.parametrize(
    ("imbalance_factor", "last"),
    [(10, [52, 51, 50]), (50, [11, 11, 10, 10, 10]), (200, [3, 3, 3, 3, 3, 2, 2, 2, 2])],
)
def test_the_tails_of_cifar100_end_as_published(imbalance_factor, last):
    assert long_tailed_counts(500, imbalance_factor, 100)[-len(last) :].tolist() == last


@given(
    largest=st.integers(1, 5000),
    imbalance_factor=st.one_of(st.integers(1, 1000), st.sampled_from([1.1, 1.5, 2.5, 33.3])),
    num_classes=st.integers(2, 40),
)
def test_every_count_is_the_exact_floor(largest, imbalance_factor, num_classes):
    """In whole numbers: n is the floor if n^(K-1) IF^i <= n_max^(K-1) < (n+1)^(K-1) IF^i."""
    factor, power = Fraction(str(imbalance_factor)), num_classes - 1
    for rank, count in enumerate(long_tailed_counts(largest, imbalance_factor, num_classes).tolist()):
        assert count**power * factor**rank <= largest**power < (count + 1) ** power * factor**rank


def test_a_power_that_floating_point_puts_just_below_a_whole_number_is_not_rounded_down():
    assert int(5000 * (1 / 1000) ** (3 / 9)) == 500 or int(490 * (1 / 49) ** 1.0) == 9  # why it matters
    assert long_tailed_counts(5000, 1000, 10).tolist()[::3] == [5000, 500, 50, 5]
    assert long_tailed_counts(490, 49, 2).tolist() == [490, 10]


@pytest.mark.parametrize(
    ("largest", "imbalance_factor", "num_classes"),
    [(0, 10, 10), (10, 0.5, 10), (10, float("nan"), 10), (10, float("inf"), 10), (10, 2, 1)],
)
def test_a_tail_that_makes_no_sense_is_refused(largest, imbalance_factor, num_classes):
    with pytest.raises(DataError, match="imbalance_factor >= 1"):
        long_tailed_counts(largest, imbalance_factor, num_classes)


@st.composite
def split_cases(draw):
    """Labels in any order with classes of any size, and a split of them that is possible."""
    sizes = draw(st.lists(st.integers(3, 30), min_size=2, max_size=6))
    labels = np.random.default_rng(draw(st.integers(0, 9))).permutation(np.repeat(np.arange(len(sizes)), sizes))
    validation = draw(st.integers(0, min(sizes) - 1))
    factor = draw(st.one_of(st.just("natural"), st.floats(1, min(sizes) - validation)))
    order = "label" if factor == "natural" else draw(st.sampled_from(["label", "reversed", "shuffled"]))
    data = data_config(imbalance_factor=factor, validation_per_class=validation, class_order=order)
    return labels, data, draw(st.integers(0, 2**63))


@given(split_cases())
def test_train_and_validation_never_share_an_image(case):
    labels, data, seed = case
    split = split_long_tailed(labels, data, seed)
    chosen = np.concatenate([split.train, split.validation])
    assert len(np.unique(chosen)) == len(chosen)
    assert chosen.min() >= 0
    assert chosen.max() < len(labels)


@given(split_cases())
def test_every_class_gets_its_count_and_its_validation_images(case):
    labels, data, seed = case
    split = split_long_tailed(labels, data, seed)
    num_classes = labels.max() + 1
    assert tuple(np.bincount(labels[split.train], minlength=num_classes)) == split.class_counts
    assert (np.bincount(labels[split.validation], minlength=num_classes) == data.validation_per_class).all()
    sizes = np.bincount(labels) - data.validation_per_class
    if data.imbalance_factor == "natural":
        assert split.class_counts == tuple(sizes)
    else:
        profile = long_tailed_counts(sizes.min(), data.imbalance_factor, num_classes)
        assert sorted(split.class_counts) == sorted(profile)


@given(split_cases())
def test_the_same_seed_gives_the_same_split(case):
    labels, data, seed = case
    first, second = (split_long_tailed(labels, data, seed) for _ in range(2))
    assert data_fingerprint("source", first) == data_fingerprint("source", second)


@given(split_cases(), st.floats(1, 3))
def test_a_longer_tail_is_part_of_a_shorter_one_and_shares_its_validation_images(case, shorter):
    labels, data, seed = case
    if data.imbalance_factor == "natural":
        return
    shorter_tail = data.model_copy(update={"imbalance_factor": max(1, data.imbalance_factor / shorter)})
    small, large = (split_long_tailed(labels, tail, seed) for tail in (data, shorter_tail))
    assert set(small.train) <= set(large.train)
    assert (small.validation == large.validation).all()


BALANCED = np.tile(np.arange(5), 100)


def test_other_seeds_choose_other_images():
    data = data_config(imbalance_factor=10, validation_per_class=5)
    first, second = (split_long_tailed(BALANCED, data, seed) for seed in (0, 1))
    assert set(first.train) != set(second.train)
    assert set(first.validation) != set(second.validation)


def test_a_split_stays_what_it_was_when_it_was_published():
    """A change here changes every trial key and every number: do it on purpose only."""
    data = data_config(imbalance_factor=20, validation_per_class=2)
    split = split_long_tailed(BALANCED, data, seed=7)
    assert split.class_counts == (98, 46, 21, 10, 4)
    assert split.validation.tolist() == [27, 119, 137, 245, 266, 299, 428, 438, 456, 475]
    assert data_fingerprint("", split)[:16] == "b1b7c09309f0919d"


def test_class_0_is_the_head_in_label_order_and_the_tail_when_reversed():
    counts = {
        order: split_long_tailed(BALANCED, data_config(imbalance_factor=10, class_order=order), 0).class_counts
        for order in ("label", "reversed")
    }
    assert counts["label"] == (100, 56, 31, 17, 10)
    assert counts["reversed"] == counts["label"][::-1]


def test_a_shuffled_class_order_depends_on_the_seed_only():
    def counts(seed, factor):
        data = data_config(imbalance_factor=factor, class_order="shuffled")
        return split_long_tailed(BALANCED, data, seed).class_counts

    assert len({counts(seed, 10) for seed in range(8)}) > 1
    assert np.argsort(counts(3, 10)).tolist() == np.argsort(counts(3, 50)).tolist()


def test_a_shuffled_class_order_leaves_the_validation_images_where_they_are():
    label, shuffled = (
        split_long_tailed(BALANCED, data_config(validation_per_class=9, class_order=order), 0).validation
        for order in ("label", "shuffled")
    )
    assert (label == shuffled).all()


def test_the_head_has_as_many_images_as_the_smallest_class_has_left():
    labels = np.repeat([0, 1, 2], [20, 50, 30])
    data = data_config(imbalance_factor=4, validation_per_class=4)
    assert split_long_tailed(labels, data, 0).class_counts == (16, 8, 4)


def test_natural_keeps_every_image_that_is_not_held_out():
    labels = np.repeat([0, 1, 2], [20, 50, 30])
    data = data_config(imbalance_factor="natural", validation_per_class=4)
    assert split_long_tailed(labels, data, 0).class_counts == (16, 46, 26)


def test_natural_refuses_a_class_order_that_would_do_nothing():
    data = data_config(imbalance_factor="natural", class_order="reversed")
    with pytest.raises(DataError, match="natural cuts none"):
        split_long_tailed(BALANCED, data, 0)


def test_a_tail_too_long_for_the_classes_is_refused_and_the_longest_that_works_is_named():
    with pytest.raises(DataError, match=r"imbalance_factor: 97\.5 .* at most 97 works"):
        split_long_tailed(BALANCED, data_config(imbalance_factor=97.5, validation_per_class=3), 0)
    longest = split_long_tailed(BALANCED, data_config(imbalance_factor=97, validation_per_class=3), 0)
    assert longest.class_counts[-1] == 1


@pytest.mark.parametrize("imbalance_factor", [1, "natural"])
def test_a_validation_part_that_takes_a_whole_class_is_refused(imbalance_factor):
    labels = np.repeat([0, 1], [20, 8])
    with pytest.raises(DataError, match="leaves class 1 without a training image: it has 8, so at most 7"):
        split_long_tailed(labels, data_config(imbalance_factor=imbalance_factor, validation_per_class=8), 0)


def test_the_fingerprint_tells_sources_and_splits_apart():
    splits = [split_long_tailed(BALANCED, data_config(validation_per_class=v), s) for v, s in [(0, 0), (1, 0), (1, 1)]]
    prints = {data_fingerprint(source, split) for source in ("a", "b") for split in splits}
    assert len(prints) == 6
