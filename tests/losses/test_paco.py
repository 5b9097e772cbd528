"""PaCo's loss against a slow float64 one, written from its formula, one anchor and one column at a time."""

import math

import pytest
import torch
import torch.nn.functional as F

from ccar.losses.paco import parametric_contrastive


def slow(logits, similarities, labels, candidate_labels, *, alpha, beta, gamma, supt, temperature):
    """-(sum of target weight * log probability) / (sum of target weights) for each anchor, in plain Python."""
    losses = []
    for i, label in enumerate(labels):
        columns = []  # score, weight in the denominator, target weight
        for c, z in enumerate(logits[i]):
            columns.append((z / supt, 1.0, beta if c == label else 0.0))
        for j, v in enumerate(similarities[i]):
            if j == i:
                columns.append((v / temperature, 0.0, 0.0))
            else:
                columns.append((v / temperature, gamma, alpha if candidate_labels[j] == label else 0.0))
        highest = max(score for score, _, _ in columns)
        total = sum(weight * math.exp(score - highest) for score, weight, _ in columns) + 1e-12
        weighted = sum(target * (score - highest - math.log(total)) for score, _, target in columns)
        losses.append(-weighted / sum(target for _, _, target in columns))
    return losses


def example(num_anchors=6, num_classes=5, num_others=20, dim=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    logits = 3 * torch.randn(num_anchors, num_classes, generator=generator, dtype=dtype)
    candidates = F.normalize(torch.randn(num_anchors + num_others, dim, generator=generator, dtype=dtype), dim=1)
    labels = torch.randint(num_classes, (num_anchors + num_others,), generator=generator)
    return logits, candidates[:num_anchors] @ candidates.T, labels[:num_anchors], labels


PUBLISHED = {"alpha": 0.01, "beta": 1.0, "gamma": 1.0, "supt": 1.0, "temperature": 0.05}


@pytest.mark.parametrize("options", [
    PUBLISHED,
    PUBLISHED | {"alpha": 0.05, "temperature": 0.2},
    {"alpha": 0.3, "beta": 0.7, "gamma": 0.4, "supt": 2.0, "temperature": 0.5},
    PUBLISHED | {"alpha": 0.0, "gamma": 0.0},
])  # fmt: skip
def test_it_is_the_slow_one(options):
    arguments = example()
    expected = slow(*(argument.tolist() for argument in arguments), **options)
    assert parametric_contrastive(*arguments, **options).tolist() == pytest.approx(expected, rel=1e-12)


def test_its_gradient_is_that_of_the_slow_one():
    logits, similarities, labels, candidate_labels = example()
    logits.requires_grad_()
    similarities = similarities.detach().requires_grad_()
    parametric_contrastive(logits, similarities, labels, candidate_labels, **PUBLISHED).sum().backward()

    def total(logits, similarities):
        return sum(
            slow(logits.tolist(), similarities.tolist(), labels.tolist(), candidate_labels.tolist(), **PUBLISHED)
        )

    for which, tensor in enumerate((logits, similarities)):
        for row, column in [(0, 0), (1, int(labels[1])), (2, 3), (4, 4), (5, tensor.shape[1] - 1)]:
            step = torch.zeros_like(tensor)
            step[row, column] = 1e-6
            moved = [(logits.detach() + s * step, similarities.detach()) if which == 0 else
                     (logits.detach(), similarities.detach() + s * step) for s in (1, -1)]  # fmt: skip
            slope = (total(*moved[0]) - total(*moved[1])) / 2e-6
            assert tensor.grad[row, column].item() == pytest.approx(slope, abs=1e-6)


def test_an_anchor_is_neither_its_own_target_nor_in_its_own_denominator():
    logits, similarities, labels, candidate_labels = example()
    changed = similarities.clone()
    changed.fill_diagonal_(0.5)  # below the highest score of its row, which is taken off all of them
    first, second = (
        parametric_contrastive(logits, s, labels, candidate_labels, **PUBLISHED) for s in (similarities, changed)
    )
    torch.testing.assert_close(first, second)


def test_without_candidates_it_is_cross_entropy_on_the_class_logits():
    logits, similarities, labels, candidate_labels = example()
    found = parametric_contrastive(
        logits, similarities, labels, candidate_labels, **PUBLISHED | {"alpha": 0.0, "gamma": 0.0}
    )
    torch.testing.assert_close(found, F.cross_entropy(logits, labels, reduction="none"), rtol=1e-3, atol=1e-9)


def test_far_apart_scores_in_float32_give_finite_losses_and_gradients():
    logits, similarities, labels, candidate_labels = example(dtype=torch.float32)
    logits = (1000 * logits).requires_grad_()
    losses = parametric_contrastive(logits, similarities, labels, candidate_labels, **PUBLISHED)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert logits.grad.isfinite().all()
