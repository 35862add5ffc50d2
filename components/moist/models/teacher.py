"""Teachers: the paper's CIFAR ResNet-18, and a small residual network that trains in minutes on a CPU."""

from torch import Tensor, nn

from moist.models.small_maps import with_small_maps

# torchvision is imported where a teacher is built: it takes seconds, and most stages build none.


def resnet18(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The paper's teacher: torchvision's ResNet-18 with a 3x3 stride-1 stem and without the max-pool.

    `shape` is height, width, channels; the stem takes as many channels as the images have. The network maps
    float (B, channels, height, width) to logits float (B, classes). Source: MoIST, section IV.
    """
    from torchvision.models import resnet18 as torchvision_resnet18

    network: nn.Module = torchvision_resnet18(weights=None, num_classes=classes)
    network.conv1 = nn.Conv2d(shape[2], 64, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return with_small_maps(network)


class SmallResNet(nn.Module):
    """A stem and three basic blocks, each at half the resolution of the one before; the first halving is a max-pool.

    Images below 16 pixels are not pooled after the stem, or too little would be left of them. `shape` is height, width,
    channels; the network maps float (B, channels, height, width) to logits float (B, classes).
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        from torchvision.models.resnet import BasicBlock

        first, second, third = 48, 96, 192
        self.stem = nn.Sequential(
            nn.Conv2d(shape[2], first, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(first),
            # At full resolution normalisation and activations take most of a CPU's time, so no block runs there.
            nn.MaxPool2d(2) if min(shape[:2]) >= 16 else nn.Identity(),
            nn.ReLU(),
        )
        self.stages = nn.Sequential(
            BasicBlock(first, first), halving_block(first, second), halving_block(second, third)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(third, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        with_small_maps(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float (B, classes), of images, float (B, channels, height, width)."""
        logits: Tensor = self.fc(self.pool(self.stages(self.stem(images))).flatten(1))
        return logits


def halving_block(channels_in: int, channels_out: int) -> nn.Module:
    """A basic block that halves the resolution; its shortcut is a strided 1x1 convolution, as in ResNet-18."""
    from torchvision.models.resnet import BasicBlock

    shortcut = nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=1, stride=2, bias=False), nn.BatchNorm2d(channels_out)
    )
    block: nn.Module = BasicBlock(channels_in, channels_out, stride=2, downsample=shortcut)
    return block
