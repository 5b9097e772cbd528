"""ResNets for images of about 224x224 pixels, as torchvision builds them; their weights are never downloaded.

Sources: He et al., CVPR 2016, arXiv:1512.03385 (ResNet-50, -152, with the stride in the 3x3 convolution of a
bottleneck); Xie et al., CVPR 2017, arXiv:1611.05431 (ResNeXt-50 32x4d). ResNet-10, one basic block per stage, is
that of the long-tail literature: Liu et al., CVPR 2019, arXiv:1904.05160.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

ImageNetResNetName = Literal["resnet10", "resnet50", "resnet152", "resnext50_32x4d"]


class _Layout(NamedTuple):
    is_bottleneck: bool
    blocks_per_stage: tuple[int, int, int, int]
    groups: int = 1
    width_per_group: int = 64


_LAYOUTS: dict[ImageNetResNetName, _Layout] = {
    "resnet10": _Layout(False, (1, 1, 1, 1)),
    "resnet50": _Layout(True, (3, 4, 6, 3)),
    "resnet152": _Layout(True, (3, 8, 36, 3)),
    "resnext50_32x4d": _Layout(True, (3, 4, 6, 3), groups=32, width_per_group=4),
}


class ImageNetResNet(nn.Module):
    """Backbone: (N, in_channels, H, W) images to (N, num_features) features, 512 for ResNet-10 and 2048 else.

    Convolutions are drawn from a normal distribution with variance 2 / (k * k * channels out), batch norms begin
    with weight 1 and bias 0, the last of a block too: torchvision's own initialisation, and that of the
    long-tail recipes.
    """

    def __init__(self, name: ImageNetResNetName, in_channels: int) -> None:
        super().__init__()
        from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet  # 3 s to import, for few models

        layout = _LAYOUTS[name]
        network = ResNet(
            Bottleneck if layout.is_bottleneck else BasicBlock,
            list(layout.blocks_per_stage),
            num_classes=1,
            groups=layout.groups,
            width_per_group=layout.width_per_group,
        )
        self.num_features: int = network.fc.in_features
        network.fc = nn.Identity()
        if in_channels != network.conv1.in_channels:
            network.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images)
        return features

    def in_two_parts(self) -> tuple[nn.Module, nn.Module]:
        """All but the last block; the last block and the average over its maps."""
        network = self.network
        *earlier, last = network.layer4
        stem = (network.conv1, network.bn1, network.relu, network.maxpool)
        trunk = nn.Sequential(*stem, network.layer1, network.layer2, network.layer3, *earlier)
        return trunk, nn.Sequential(last, network.avgpool, nn.Flatten())

    def load_pretrained(self, state_dict: dict[str, Tensor]) -> None:
        """Begin with the weights of torchvision's network of the same name; its classifier is left out.

        Raises:
            RuntimeError, AttributeError: they are those of another network, or no weights.
        """
        self.network.load_state_dict({name: value for name, value in state_dict.items() if not name.startswith("fc.")})
