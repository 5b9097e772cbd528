import numpy as np
import pytest
import torch

from ccar.models.heads import LinearHead, NormedHead


@pytest.fixture(params=[LinearHead, NormedHead])
def head(request):
    torch.manual_seed(0)
    return request.param(64, 10)


def test_logits_are_float32_for_bfloat16_features_under_autocast(head):
    features = torch.randn(4, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(features).dtype == torch.float32
        half = head(features.bfloat16())
    assert half.dtype == torch.float32
    assert torch.equal(half, head(features.bfloat16().float()))


def test_normed_logits_are_cosines():
    head = NormedHead(5, 3)
    features = torch.randn(4, 5)
    x, w = features.double().numpy(), head.weight.detach().double().numpy()
    expected = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in w.T] for a in x]
    np.testing.assert_allclose(head(features).detach().numpy(), expected, atol=1e-6)


def test_normed_class_directions_start_uniform_and_of_unit_length():
    torch.manual_seed(0)
    weight = NormedHead(64, 100).weight.detach()
    torch.testing.assert_close(weight.norm(dim=0), torch.ones(100))
    # A uniform entry before scaling: kurtosis 1.8, where a normal one has 3.
    assert (weight**4).mean() / (weight**2).mean() ** 2 == pytest.approx(1.8, abs=0.1)


def test_the_length_of_features_and_weights_does_not_reach_the_cosines():
    head = NormedHead(5, 3)
    features = torch.randn(4, 5)
    before = head(features)
    with torch.no_grad():
        head.weight.mul_(7)
    torch.testing.assert_close(head(features * 1000), before)


def test_an_all_zero_feature_vector_gives_finite_cosines_and_gradients():
    head = NormedHead(5, 3)
    features = torch.zeros(2, 5, requires_grad=True)
    cosines = head(features)
    cosines.sum().backward()
    assert cosines.eq(0).all()
    assert features.grad.isfinite().all()
    assert head.weight.grad.isfinite().all()


def test_linear_weights_start_kaiming_normal():
    torch.manual_seed(0)
    assert LinearHead(64, 1000).weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.02)
