from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccar.losses import build_loss
from ccar.losses.class_prior import (
    FREQUENCY_SOURCES,
    checked_class_counts,
    class_frequency,
    effective_number,
    log_prior,
)
from tests.losses import slow
from tests.losses.conftest import cifar100_lt_counts

counts_lists = st.lists(st.integers(1, 10**6), min_size=1, max_size=20)


@pytest.mark.parametrize(
    "counts", [[3, 1], (3, 1), [3.0, 1.0], np.array([3, 1]), torch.tensor([3, 1]), torch.tensor([3.0, 1.0])]
)
def test_counts_may_come_as_any_kind_of_vector(counts):
    checked = checked_class_counts(counts)
    assert checked.tolist() == [3, 1]
    assert checked.dtype == torch.float64


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([], "one number per class"),
        (5, "one number per class"),
        ([[1, 2]], "one number per class"),
        ([5, 0, 2], "found class 1: 0"),
        ([5, -3], "found class 1: -3"),
        ([2.5, 1], "found class 0: 2.5"),
        ([1, float("nan")], "found class 1: nan"),
        ([1, float("inf")], "found class 1: inf"),
        ([0] * 8, "found class 0: 0, class 1: 0, .* and 3 more"),
        (["1", "2"], "whole numbers"),
        (None, "whole numbers"),
        ({0: 5}, "whole numbers"),
        ([True, True], "whole numbers"),
    ],
)
def test_counts_that_cannot_be_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        build_loss("cross_entropy", counts)


def test_log_prior_of_cifar100_lt_ranges_from_head_to_tail():
    prior = log_prior(checked_class_counts(cifar100_lt_counts(100)))
    assert prior[0].item() == pytest.approx(-3.08, abs=0.005)
    assert prior[-1].item() == pytest.approx(-7.68, abs=0.005)
    assert prior.exp().sum().item() == pytest.approx(1)


@given(counts=st.lists(st.integers(1, 300), min_size=1, max_size=6), beta=st.sampled_from([0, 0.5, 0.9, 0.9999]))
def test_effective_number_is_the_geometric_series(counts, beta):
    numbers = effective_number(checked_class_counts(counts), beta)
    assert numbers.tolist() == pytest.approx(slow.effective_numbers(counts, beta), rel=1e-9)


def test_effective_number_keeps_its_digits_for_beta_next_to_one():
    numbers = effective_number(checked_class_counts([1, 1000]), beta=1 - 1e-12)
    assert numbers.tolist() == pytest.approx([1, 1000], rel=1e-4)


@given(counts=counts_lists, source=st.sampled_from(FREQUENCY_SOURCES), beta=st.sampled_from([0, 0.9, 0.99, 0.9999]))
def test_every_frequency_lies_between_0_and_1(counts, source, beta):
    frequency = class_frequency(checked_class_counts(counts), source, effective_number_beta=beta)
    assert frequency.shape == (len(counts),)
    assert ((frequency >= 0) & (frequency <= 1)).all()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("fraction", [0.75, 0.2, 0.05]),
        ("max_normalised", [1, 4 / 15, 1 / 15]),
        ("uniform", [1 / 3] * 3),
        ("none", [0] * 3),
        ((0.5, 0, 1), [0.5, 0, 1]),
        (torch.tensor([0.5, 0, 1]), [0.5, 0, 1]),
    ],
)
def test_frequency_sources(source, expected):
    frequency = class_frequency(checked_class_counts([15, 4, 1]), source, effective_number_beta=0.99)
    assert frequency.tolist() == pytest.approx(expected)


def test_a_large_beta_makes_the_effective_number_the_max_normalised_count():
    counts = checked_class_counts(cifar100_lt_counts(100))
    effective = class_frequency(counts, "effective_number", effective_number_beta=0.9999)
    normalised = class_frequency(counts, "max_normalised", effective_number_beta=0.9999)
    torch.testing.assert_close(effective, normalised, rtol=0.03, atol=0)
