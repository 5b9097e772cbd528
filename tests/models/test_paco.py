import copy

import pytest
import torch

from ccar.models.build import build_model
from ccar.models.paco import ContrastNetwork


@pytest.fixture
def network():
    """Small, untrained: 5 classes, embeddings of 6 numbers, a queue of 7 keys."""
    torch.manual_seed(3)
    plain = build_model("small_cnn", "linear", 5, 1)
    return ContrastNetwork(plain.backbone, plain.head, num_classes=5, dim=6, queue_size=7)


def images(seed=0):
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_the_logits_come_from_the_features_as_they_are_and_the_embeddings_have_length_one(network):
    logits, embeddings = network.eval().logits_and_embeddings(images())
    features = network.backbone(images())
    torch.testing.assert_close(logits, features @ network.head.weight.T + network.head.bias)
    torch.testing.assert_close(embeddings, torch.nn.functional.normalize(network.projection(features), dim=1))
    assert embeddings.shape == (4, 6)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))


def test_the_copies_start_equal_get_no_gradient_and_move_by_one_thousandth_of_the_way(network):
    assert torch.equal(network.eval().keys(images()), network.logits_and_embeddings(images())[1])
    assert not network.keys(images()).requires_grad
    pairs = [(network.backbone, network.key_backbone), (network.projection, network.key_projection)]
    with torch.no_grad():
        for original, _ in pairs:
            for parameter in original.parameters():
                parameter.add_(torch.randn_like(parameter))
    before = copy.deepcopy([[p.double() for p in follower.parameters()] for _, follower in pairs])
    network.follow(0.999)
    for (original, follower), earlier in zip(pairs, before, strict=True):
        for theirs, own, was in zip(original.parameters(), follower.parameters(), earlier, strict=True):
            torch.testing.assert_close(own.double(), 0.999 * was + 0.001 * theirs.double(), rtol=1e-6, atol=1e-7)
            assert own.data_ptr() != theirs.data_ptr()


def test_the_first_queue_has_random_unit_vectors_and_labels(network):
    torch.testing.assert_close(network.queue.norm(dim=1), torch.ones(7))
    assert network.queue_labels.min() >= 0
    assert network.queue_labels.max() < 5


def test_the_queue_keeps_the_newest_keys_in_the_order_they_came(network):
    first = network.queue.clone()
    batches = [torch.full((3, 6), float(value)) for value in (1, 2, 3)]
    network.remember(batches[0], torch.tensor([1, 1, 1]))
    assert torch.equal(network.queue, torch.cat([first[3:], batches[0]]))
    for value in (2, 3):
        network.remember(batches[value - 1], torch.full((3,), value))
    assert network.queue[:, 0].tolist() == [1, 2, 2, 2, 3, 3, 3]
    assert network.queue_labels.tolist() == [1, 2, 2, 2, 3, 3, 3]


def test_of_a_batch_larger_than_the_queue_the_last_keys_are_kept(network):
    keys = torch.arange(10.0)[:, None].expand(10, 6)
    network.remember(keys, torch.arange(10))
    assert network.queue_labels.tolist() == [3, 4, 5, 6, 7, 8, 9]


def test_queue_and_copies_are_part_of_the_state(network):
    state = network.state_dict()
    assert {"queue", "queue_labels"} < state.keys()
    assert any(name.startswith("key_backbone.") for name in state)
    assert any(name.startswith("key_projection.") for name in state)
