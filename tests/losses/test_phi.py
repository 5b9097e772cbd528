from __future__ import annotations

import pytest
import torch

from ccar.losses.phi import Phi, Weight

LOSSES = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)  # cross-entropy of three images
CONSTANTS = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def first(x):
    return (-x).exp() + 2


def second(x):
    return x**2 + 1


def slope_of(function):
    x = LOSSES.clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


def weight_of(function):
    return Weight(function(LOSSES), slope_of(lambda x: function(x).log()))


def assert_carries(phi, function):
    torch.testing.assert_close(phi.value, function(LOSSES))
    torch.testing.assert_close(phi.psi, slope_of(function))


def test_a_weighted_cross_entropy_carries_its_slope():
    assert_carries(weight_of(first).times(LOSSES), lambda x: first(x) * x)


def test_products_of_weights_carry_their_slope():
    weight = (weight_of(first) * weight_of(second)).scaled(CONSTANTS)
    assert_carries(weight.times(LOSSES), lambda x: first(x) * second(x) * CONSTANTS * x)
    assert_carries(weight.as_phi(), lambda x: first(x) * second(x) * CONSTANTS)


@pytest.mark.parametrize(
    "reduced",
    [
        lambda a, b: a.sum(),
        lambda a, b: (a * CONSTANTS).mean(),
        lambda a, b: a.sum() / b.sum(),
        lambda a, b: a.mean() / CONSTANTS[1],
    ],
    ids=["sum", "weighted mean", "ratio of sums", "scaled mean"],
)
def test_reductions_written_once_serve_tensors_and_phi(reduced):
    a, b = (Phi(function(LOSSES), slope_of(function)) for function in (first, second))
    assert_carries(reduced(a, b), lambda x: reduced(first(x), second(x)))
