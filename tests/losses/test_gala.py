from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ccar.losses import build_loss
from tests.losses import slow

STRENGTH = 0.7


@pytest.fixture(scope="module")
def batches():
    """(logits, labels) of five batches of six images of four classes."""
    rng = np.random.default_rng(3)
    return [(rng.normal(size=(6, 4)), rng.integers(0, 4, 6)) for _ in range(5)]


class Published:
    """The loss as it was published, one image at a time: both running sums, and phi where it makes no difference."""

    def __init__(self):
        self.theta, self.phi = [0.0] * 4, [0.0] * 4

    def log_q(self, z, y):
        adjusted = [x + STRENGTH * math.log(self.theta[c] + 1e-3) for c, x in enumerate(z)]
        return slow.log_softmax([x - STRENGTH * math.log(self.phi[y] + 1e-3) for x in adjusted])

    def loss(self, logits, labels):
        return np.mean([-self.log_q(z, y)[y] for z, y in zip(logits, labels, strict=True)])

    def collect(self, logits, labels):
        gradients = [np.exp(self.log_q(z, y)) - np.eye(4)[y] for z, y in zip(logits, labels, strict=True)]
        for gradient, y in zip(np.abs(gradients), labels, strict=True):
            self.theta[y] += gradient[y]
            self.phi[y] += sum(gradient) - gradient[y]


def run(loss_fn, batches):
    """The mean loss of each batch, and the gradient of the last."""
    losses = []
    for logits, labels in batches:
        z = torch.tensor(logits, requires_grad=True)
        value = loss_fn(z, torch.tensor(labels))
        losses.append(value.item())
    value.backward()
    return losses, z.grad.numpy()


def test_values_gradients_and_running_sums_over_batches_agree_with_the_published_loss(batches):
    loss_fn, published, expected = build_loss("gala", [1] * 4, strength=STRENGTH), Published(), []
    losses, gradient = run(loss_fn, batches)
    for logits, labels in batches:
        expected.append(published.loss(logits, labels))
        last = slow.gradient(logits, lambda z, labels=labels: published.loss(z, labels))
        published.collect(logits, labels)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, last, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(loss_fn.base.theta.numpy(), published.theta, rtol=1e-12)


def test_the_sums_are_of_the_gradients_of_the_loss_itself_whatever_weighs_or_reduces_it(batches):
    alone = build_loss("gala", [1] * 4, reduction="none")
    logits, labels = torch.tensor(batches[0][0], requires_grad=True), torch.tensor(batches[0][1])
    alone(logits, labels).sum().backward()
    true = -logits.grad.gather(1, labels[:, None]).squeeze(1)
    expected = torch.zeros(4, dtype=torch.float64).index_add_(0, labels, true)
    torch.testing.assert_close(alone.base.theta, expected)
    for confidence in ("adjusted", "raw"):
        weighted = build_loss("gala", [1] * 4, reweighting={"omega": 0.75, "confidence": confidence})
        weighted(logits, labels)
        torch.testing.assert_close(weighted.base.theta, expected)


def test_it_is_cross_entropy_before_the_first_batch_and_at_strength_0(batches):
    plain, _ = run(build_loss("cross_entropy", [1] * 4), batches)
    weak, _ = run(build_loss("gala", [1] * 4, strength=0), batches)
    first, *later = run(build_loss("gala", [1] * 4), batches)[0]
    assert weak == pytest.approx(plain, rel=1e-12)
    assert first == pytest.approx(plain[0], rel=1e-12)
    assert all(loss != pytest.approx(other, rel=1e-3) for loss, other in zip(later, plain[1:], strict=True))


def test_a_class_that_was_pulled_more_must_win_by_less():
    loss_fn = build_loss("gala", [1] * 4, reduction="none")
    loss_fn(torch.zeros(6, 4), torch.tensor([0, 0, 0, 1, 1, 2]))
    losses = loss_fn.eval()(torch.zeros(4, 4), torch.arange(4))
    assert (losses.diff() > 0).all()


def test_the_state_is_the_running_sum_and_a_restored_loss_goes_on_with_the_same_bits(batches):
    whole = build_loss("gala", [1] * 4, reweighting={"omega": 0.75})
    expected, _ = run(whole, batches)
    first, second = (build_loss("gala", [1] * 4, reweighting={"omega": 0.75}) for _ in range(2))
    earlier, _ = run(first, batches[:2])
    assert list(first.state_dict()) == ["base.theta"]
    second.load_state_dict(first.state_dict())
    later, _ = run(second, batches[2:])
    assert earlier + later == expected
    assert torch.equal(second.base.theta, whole.base.theta)


@pytest.mark.parametrize("strength", [-1, float("nan"), "1"])
def test_a_strength_outside_its_range_is_refused(strength):
    with pytest.raises(ValueError, match="strength must be a number at least 0"):
        build_loss("gala", [1, 1], strength=strength)
