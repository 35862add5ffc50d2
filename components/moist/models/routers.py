"""Routers: small networks that choose the student for an image; all return plain logits (B, students)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moist.models.student import Student


class Router(nn.Module):
    """What every router shares: its temperature, which is 1 until calibration sets it.

    Routers are trained on plain logits. The temperature never changes the chosen student, only how sure the router
    says it is.
    """

    temperature: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.tensor(1.0))

    def probabilities(self, logits: Tensor) -> Tensor:
        """softmax(logits / temperature): float (B, students), each row sums to 1."""
        return torch.softmax(logits / self.temperature, dim=-1)


class CnnRouter(Router):
    """Two convolutions with batch-norm, each followed by ReLU and pool, then fc 128, dropout 0.2, fc students."""

    def __init__(self, shape: tuple[int, int, int], students: int) -> None:
        super().__init__()
        height, width, channels = shape
        self.features = nn.Sequential(
            nn.Conv2d(channels, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.BatchNorm2d(64),
            nn.MaxPool2d(2),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * (height // 4) * (width // 4), 128),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(128, students),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Router logits, float (B, students), of images, float (B, channels, height, width)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


class LinearRouter(Router):
    """The paper's 3-layer linear network ("Linear 3NN") on the flattened image; `hidden` are its two inner sizes."""

    def __init__(self, shape: tuple[int, int, int], students: int, hidden: tuple[int, int] = (256, 128)) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), hidden[0]),
            nn.ReLU(),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(),
            nn.Linear(hidden[1], students),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Router logits, float (B, students), of images, float (B, channels, height, width)."""
        logits: Tensor = self.layers(images)
        return logits


class TransformerRouter(Router):
    """Patches, 2 encoder layers of 4 heads, width 64, feed-forward 256, mean over the patches, fc students.

    Sizes from MoIST, section V.D. The patch is an eighth of the image's side, at least 2 pixels (4 pixels at 32 and
    28, 2 at 8), so that there are at most 64 patches; an image that patches do not tile is padded with zeros.

    No dropout, of which the paper says nothing, and no bf16 on CPUs: with heads of 16 channels both cost more time than
    all matrix products together.
    """

    width = 64

    def __init__(self, shape: tuple[int, int, int], students: int) -> None:
        super().__init__()
        height, image_width, channels = shape
        patch = (max(2, math.ceil(height / 8)), max(2, math.ceil(image_width / 8)))
        self.padding = (0, -image_width % patch[1], 0, -height % patch[0])
        patches = math.ceil(height / patch[0]) * math.ceil(image_width / patch[1])
        self.embedding = nn.Conv2d(channels, self.width, kernel_size=patch, stride=patch)
        self.position = nn.Parameter(torch.randn(1, patches, self.width) * 0.02)
        self.encoder = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    self.width, nhead=4, dim_feedforward=256, dropout=0.0, batch_first=True, norm_first=True
                )
                for _ in range(2)
            )
        )
        self.norm = nn.LayerNorm(self.width)
        self.head = nn.Linear(self.width, students)

    def forward(self, images: Tensor) -> Tensor:
        """Router logits, float (B, students), of images, float (B, channels, height, width)."""
        if any(self.padding):
            images = F.pad(images, self.padding)
        with torch.autocast("cpu", enabled=False):
            tokens = self.embedding(images).flatten(2).transpose(1, 2) + self.position
            logits: Tensor = self.head(self.norm(self.encoder(tokens)).mean(dim=1))
        return logits


class HeadRouter(Router):
    """Average pool to about 4x4, batch-norm, one linear layer: nearly free on features that a shared trunk computed."""

    def __init__(self, shape: tuple[int, int, int], students: int) -> None:
        super().__init__()
        height, width, channels = shape
        pool = (max(1, height // 4), max(1, width // 4))
        self.layers = nn.Sequential(
            nn.AvgPool2d(pool),
            nn.BatchNorm2d(channels),
            nn.Flatten(),
            nn.Linear(channels * (height // pool[0]) * (width // pool[1]), students),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Router logits, float (B, students), of features, float (B, channels, height, width)."""
        logits: Tensor = self.layers(features)
        return logits


class ClassRouter(Router):
    """A small student that names the class; a group's logit is the logarithm of its classes' probabilities, added up.

    It learns from the teacher like any student, so it knows more of the images than labels of groups could tell it.
    Until `assign` says which class is in which group, all probability is in the first.
    """

    groups: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        students: int,
        classes: int = 10,
        width: int = 256,
        channels: tuple[int, int] = (16, 32),
    ) -> None:
        super().__init__()
        self.student = Student(shape, classes, width, channels)
        groups = torch.zeros(classes, students)
        groups[:, 0] = 1
        self.register_buffer("groups", groups)

    def assign(self, student_of_class: Tensor) -> None:
        """Set the group, int64 (classes,), that each class is in."""
        self.groups.copy_(F.one_hot(student_of_class, self.groups.shape[1]))

    def forward(self, images: Tensor) -> Tensor:
        """Router logits, float (B, students), of images, float (B, channels, height, width)."""
        return self.of_classes(self.student(images))

    def of_classes(self, logits: Tensor) -> Tensor:
        """Router logits, float (B, students), from the student's, float (B, classes)."""
        probabilities = F.softmax(logits.float(), dim=1).unsqueeze(2) * self.groups
        return probabilities.sum(dim=1).clamp_min(torch.finfo(torch.float32).tiny).log()
