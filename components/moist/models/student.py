"""The student: the paper's CNN of two convolutions and two fully connected layers."""

from torch import Tensor, nn

from moist.errors import InputError

CHANNELS = (32, 64)
"""Of the paper's two convolutions."""


class Student(nn.Module):
    """conv3x3, ReLU, pool, conv3x3, ReLU, pool, fc, ReLU, fc. Source: MoIST, section IV.

    Each ReLU stands after its pool: the largest of the ReLUs is the ReLU of the largest, at a quarter of the work.

    `shape` is height, width, channels; `width` is the hidden layer's size (the sweep of Fig. 3b) and `channels` the
    sizes of the two convolutions.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, width: int = 256, channels: tuple[int, int] = CHANNELS
    ) -> None:
        super().__init__()
        height, image_width, image_channels = shape
        self.features = two_convolutions(image_channels, channels)
        flat = channels[1] * (height // 4) * (image_width // 4)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(flat, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float (B, classes), of images, float (B, channels, height, width)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def split(student: nn.Module, shared_layers: int) -> tuple[nn.Sequential, nn.Sequential]:
    """A student's first `shared_layers` convolutions, 0-2, each with its ReLU and pool, and all that comes after them.

    One after the other they compute what the student computes, with its own tensors.

    Raises:
        InputError: the network is no student, or has fewer convolutions.
    """
    if not isinstance(student, Student):
        raise InputError(f"{type(student).__name__} cannot be split: only the paper's student can")
    if not 0 <= shared_layers <= 2:
        raise InputError(f"shared_layers={shared_layers} is not possible: the student has 2 convolutions to share")
    modules = list(student.features)
    trunk, own = modules[: 3 * shared_layers], modules[3 * shared_layers :]
    return nn.Sequential(*trunk), nn.Sequential(*own, *student.classifier)


def feature_shape(shape: tuple[int, int, int], channels: tuple[int, int], shared_layers: int) -> tuple[int, int, int]:
    """Height, width and channels of what comes out of a student's first `shared_layers` convolutions, 0-2."""
    height, width, image_channels = shape
    return height >> shared_layers, width >> shared_layers, (image_channels, *channels)[shared_layers]


def two_convolutions(channels: int, maps: tuple[int, int]) -> nn.Sequential:
    """conv 3x3, pool, ReLU, twice: (B, channels, H, W) to (B, maps[1], H // 4, W // 4).

    The largest of the ReLUs is the ReLU of the largest, so pooling comes first: a quarter of the work for ReLU.
    """
    return nn.Sequential(
        nn.Conv2d(channels, maps[0], kernel_size=3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(maps[0], maps[1], kernel_size=3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
    )
