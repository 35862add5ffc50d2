"""The student: the paper's CNN of two convolutions and two fully connected layers."""

from torch import Tensor, nn


class Student(nn.Module):
    """conv3x3, ReLU, pool, conv3x3, ReLU, pool, fc, ReLU, fc. Source: MoIST, section IV.

    `shape` is height, width, channels; `width` is the hidden layer's size (the sweep of Fig. 3b) and `channels` the
    sizes of the two convolutions.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, width: int = 256, channels: tuple[int, int] = (32, 64)
    ) -> None:
        super().__init__()
        height, image_width, image_channels = shape
        self.features = nn.Sequential(
            nn.Conv2d(image_channels, channels[0], kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels[0], channels[1], kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        flat = channels[1] * (height // 4) * (image_width // 4)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(flat, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float (B, classes), of images, float (B, channels, height, width)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
