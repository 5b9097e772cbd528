from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ccar.losses import build_loss
from ccar.losses.phi import Phi
from ccar.losses.true_class import apply_to_true_class, by_comparison, with_true_column


def exact_loss_and_gradient(logits: np.ndarray, label: int) -> tuple[float, np.ndarray]:
    """Cross-entropy of one image from its log-odds, in extended precision."""
    z = logits.astype(np.longdouble)
    others = np.delete(z, label)
    highest = others.max()
    log_odds = z[label] - highest - np.log(np.exp(others - highest).sum())
    loss = np.log1p(np.exp(-log_odds)) if log_odds > -40 else -log_odds
    rest = 1 / (1 + np.exp(log_odds))
    gradient = np.exp(z - highest) / np.exp(others - highest).sum() * rest
    gradient[label] = -rest
    return float(loss), gradient.astype(np.float64)


def cross_entropy(true):
    return Phi(true.cross_entropy, torch.ones_like(true.cross_entropy))


@pytest.mark.parametrize("gap", [-1e4, -300.0, -80.0, -10.0, -1.0, 0.0, 1.0, 10.0, 17.0, 30.0, 60.0, 75.0])
def test_float32_keeps_the_digits_of_value_and_gradient_from_p_0_to_p_1(gap):
    row = np.random.default_rng(1).normal(size=50).astype(np.float32)
    row[7] = np.float32(row.max() + gap)
    logits = torch.tensor(row[None], requires_grad=True)
    value = build_loss("cross_entropy", [1] * 50)(logits, torch.tensor([7]))
    value.backward()
    loss, gradient = exact_loss_and_gradient(row, 7)
    # An exponential cannot do better: the rounding of its argument, up to the gap, becomes its relative error.
    precision = 1e-7 * max(10, gap)
    assert value.item() == pytest.approx(loss, rel=precision)
    np.testing.assert_allclose(logits.grad[0].numpy(), gradient, rtol=2 * precision, atol=1e-37)


@pytest.mark.parametrize("shape", [(64, 10), (16, 1000), (3, 1), (1, 2)])
def test_plain_cross_entropy_agrees_with_torch(shape):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(shape[1], shape[:1], generator=generator)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value = build_loss("cross_entropy", [1] * shape[1])(ours, labels)
    expected = F.cross_entropy(theirs, labels)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_gradient_reaches_a_network_below():
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(8, 5, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    layer = torch.nn.Linear(5, 3)
    before = build_loss("cross_entropy", [3, 3, 2])(layer(images), labels)
    before.backward()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.sub_(0.1 * parameter.grad)
    assert build_loss("cross_entropy", [3, 3, 2])(layer(images), labels) < before


def test_a_scale_is_an_inverse_temperature():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    ours = apply_to_true_class(cross_entropy, logits, labels, scale=7.0).sum()
    theirs = F.cross_entropy(7 * logits, labels, reduction="sum")
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in (ours, theirs)))


@pytest.mark.parametrize("gap", [-1e4, -50.0, 0.0, 10.0, 40.0])
def test_the_true_class_knows_p_and_1_minus_p(gap):
    def probabilities(true):
        torch.testing.assert_close(true.p, torch.sigmoid(torch.tensor([gap])))
        torch.testing.assert_close(true.rest, torch.sigmoid(torch.tensor([-gap])))
        return cross_entropy(true)

    apply_to_true_class(probabilities, torch.tensor([[0.0, gap]]), torch.tensor([1]))


@pytest.mark.parametrize("shape", [(5, 7), (3, 1), (0, 4)])
def test_one_number_of_each_row_is_replaced_alike_with_and_without_a_scatter(shape):
    """On a GPU that must be deterministic it is done by comparison: there a scatter sorts."""
    generator = torch.Generator().manual_seed(0)
    values, new = torch.randn(shape, generator=generator), torch.randn(shape[0], 1, generator=generator)
    true = torch.randint(shape[1], (shape[0], 1), generator=generator)
    expected = values.tolist()
    for row, column, number in zip(expected, true.flatten().tolist(), new.flatten().tolist(), strict=True):
        row[column] = number
    assert by_comparison(values, true, new).tolist() == expected
    assert with_true_column(values, true, new).tolist() == expected
