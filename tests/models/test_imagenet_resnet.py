from __future__ import annotations

import hashlib

import pytest
import torch
import torchvision
from torch import nn

from ccar.errors import UserError
from ccar.models.build import build_model
from ccar.models.imagenet_resnet import ImageNetResNet
from ccar.models.pretrained import load_pretrained
from ccar.models.resnet32 import ResNet32

NAMES = ("resnet10", "resnet50", "resnet152", "resnext50_32x4d")


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("name", "published"), [
    ("resnet50", 25_557_032),
    ("resnet152", 60_192_808),
    ("resnext50_32x4d", 25_028_904),
])  # fmt: skip
def test_networks_are_torchvisions_own(name, published):
    """Counts as torchvision's documentation gives them for 1,000 classes."""
    theirs = getattr(torchvision.models, name)(weights=None)
    ours = build_model(name, "linear", 1000, 3)
    assert num_parameters(ours) == num_parameters(theirs) == published
    ours.backbone.network.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
    images = torch.randn(2, 3, 64, 64)
    theirs.fc = nn.Identity()
    with torch.no_grad():
        assert torch.equal(ours.backbone.eval()(images), theirs.eval()(images))


def test_resnet10_has_one_basic_block_per_stage_and_512_features():
    """One block less in each stage than ResNet-18, whose parameters torchvision documents."""
    resnet18 = torchvision.models.resnet18(weights=None)
    second_blocks = sum(num_parameters(stage[1]) for stage in (
        resnet18.layer1, resnet18.layer2, resnet18.layer3, resnet18.layer4))  # fmt: skip
    resnet10 = ImageNetResNet("resnet10", 3)
    assert num_parameters(resnet18) == 11_689_512
    assert num_parameters(resnet10) == 11_689_512 - num_parameters(resnet18.fc) - second_blocks
    assert resnet10(torch.zeros(2, 3, 32, 32)).shape == (2, 512)
    layers = [m for m in resnet10.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    assert len(layers) == 9  # and the classifier is the tenth


@pytest.mark.parametrize("name", NAMES)
def test_weights_begin_as_the_protocol_says(name):
    """Convolutions normal(0, sqrt(2 / (k * k * channels out))), batch norms at 1 and 0, the last of a block too."""
    torch.manual_seed(0)
    for module in ImageNetResNet(name, 3).modules():
        if isinstance(module, nn.Conv2d):
            expected = (2 / (module.kernel_size[0] * module.kernel_size[1] * module.out_channels)) ** 0.5
            num_weights = module.weight.numel()
            assert module.weight.std().item() == pytest.approx(expected, rel=5 / (2 * num_weights) ** 0.5)
            assert abs(module.weight.mean().item()) < 5 * expected / num_weights**0.5
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


@pytest.mark.parametrize("name", ["resnet10", "resnet50"])
def test_the_last_block_and_all_before_it_make_the_network(name):
    backbone = ImageNetResNet(name, 3).eval()
    trunk, branch = backbone.in_two_parts()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(branch(trunk(images)), backbone(images))
    assert num_parameters(trunk) + num_parameters(branch) == num_parameters(backbone)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as torchvision publishes it, of ResNet-50, and its digest."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_pretrained_weights_are_those_of_the_file(weights):
    backbone = ImageNetResNet("resnet50", 3)
    load_pretrained(backbone, *weights)
    published = torch.load(weights[0], weights_only=True)
    assert all(torch.equal(value, published[name]) for name, value in backbone.network.state_dict().items())


def test_a_file_that_is_not_what_was_planned_with_is_refused(weights, tmp_path):
    changed = tmp_path / "changed.pth"
    changed.write_bytes(weights[0].read_bytes() + b"x")
    with pytest.raises(UserError, match="not those that the study was planned with"):
        load_pretrained(ImageNetResNet("resnet10", 3), changed, weights[1])
    with pytest.raises(UserError, match="cannot read the pretrained weights"):
        load_pretrained(ImageNetResNet("resnet10", 3), tmp_path / "missing.pth", weights[1])


def test_weights_of_another_network_are_refused(weights):
    with pytest.raises(UserError, match="does not hold the weights of this network"):
        load_pretrained(ImageNetResNet("resnet10", 3), *weights)
    with pytest.raises(UserError, match="for torchvision's networks: found ResNet32"):
        load_pretrained(ResNet32(3), *weights)


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("code of the file was run",))


@pytest.mark.parametrize("content", [Evil(), {"conv1.weight": Evil()}, [1, 2], "text"])
def test_a_file_that_holds_more_than_tensors_or_none_is_refused_unread(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match="does not hold the weights of this network"):
        load_pretrained(ImageNetResNet("resnet10", 3), path, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04"])
def test_a_file_that_torch_did_not_write_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match="does not hold the weights of this network"):
        load_pretrained(ImageNetResNet("resnet10", 3), path, hashlib.sha256(content).hexdigest())
