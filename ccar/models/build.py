"""A model is a backbone and a classifier head, both by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from torch import nn

from ccar.models.heads import LinearHead, NormedHead
from ccar.models.imagenet_resnet import ImageNetResNet
from ccar.models.resnet32 import ResNet32
from ccar.models.small_cnn import SmallCNN

# A backbone is built from the number of channels of the images and says its `num_features`.
MODELS: dict[str, Callable[[int], SmallCNN | ResNet32 | ImageNetResNet]] = {
    "small_cnn": SmallCNN,
    "resnet32": ResNet32,
    "resnet10": partial(ImageNetResNet, "resnet10"),
    "resnet50": partial(ImageNetResNet, "resnet50"),
    "resnet152": partial(ImageNetResNet, "resnet152"),
    "resnext50_32x4d": partial(ImageNetResNet, "resnext50_32x4d"),
}
HEADS: dict[str, Callable[[int, int], nn.Module]] = {"linear": LinearHead, "normed": NormedHead}


def build_model(name: str, head: str, num_classes: int, in_channels: int) -> nn.Sequential:
    """A freshly initialised classifier with float32 logits, drawn from torch's global generator.

    The backbone is drawn first, so that equal generators give equal backbones under either head.

    Args:
        name: a key of `MODELS`.
        head: a key of `HEADS`.
        num_classes: K, the width of the logits.
        in_channels: channels of the images.
    """
    backbone = MODELS[name](in_channels)
    return nn.Sequential(OrderedDict(backbone=backbone, head=HEADS[head](backbone.num_features, num_classes)))
