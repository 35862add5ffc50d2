"""C-DMoE: image classifiers whose embedding is a mixture of experts, and Table 5 of the MoDE paper."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from moist.errors import DivergedError, InputError
from moist.mode.distillation import Space, distilled_loss, in_space
from moist.mode.gates import DenseGate
from moist.mode.mixture import MixtureOfExperts, MixtureOutput
from moist.mode.probing import Probe, probe_experts
from moist.mode.statistics import Paired, Summary


class VisionTraining(BaseModel):
    """The network of Table 5 and its training; the paper gives 2 experts and 128, and leaves the rest open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experts: int = Field(
        default=2, ge=1, le=1024, description="experts of the mixture; the single model has one of them"
    )
    embedding: int = Field(default=128, ge=1, description="width of the embedding that the experts give")
    channels: tuple[int, int] = Field(default=(32, 64), description="output channels of the CNN's two convolutions")
    shared_trunk: bool = Field(default=False, description="one CNN for all, experts only the layer to the embedding")
    space: Space = Field(default="embeddings", description="where experts are compared")
    epochs: int = Field(default=5, ge=1, description="passes over the training images")
    batch_size: int = Field(default=128, ge=1, description="images a step")
    learning_rate: float = Field(default=1e-3, gt=0, description="of AdamW; falls to 0 along a half cosine")
    weight_decay: float = Field(default=0.0, ge=0)


class Images(NamedTuple):
    """Labelled images, split."""

    name: str
    train: NDArray[np.uint8]
    """uint8 (N, H, W, C), 0-255"""
    train_labels: NDArray[np.int64]
    test: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: int


class ImageMixture(nn.Module):
    """Images -> [trunk] -> mixture of embeddings -> fully connected to classes. Takes float (n, C, H, W)."""

    def __init__(self, mixture: MixtureOfExperts, embedding: int, classes: int, trunk: nn.Module | None = None) -> None:
        super().__init__()
        self.trunk = nn.Identity() if trunk is None else trunk
        self.mixture = mixture
        self.head = nn.Linear(embedding, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, MixtureOutput]:
        """Logits (n, classes), and what the mixture gave, whose outputs are embeddings."""
        output: MixtureOutput = self.mixture(self.trunk(x))
        return self.head(output.output), output


class Table5Row(BaseModel):
    """One data set of Table 5; accuracies on the held-out images, 0-1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: str
    training: VisionTraining
    alpha: float
    seeds: list[int]
    single: Summary
    moe: Summary
    mode: Summary
    moe_over_single: Paired
    mode_over_moe: Paired
    moe_probes: list[Probe] = Field(description="one a seed")
    mode_probes: list[Probe]


def two_layer_cnn(channels: int, maps: tuple[int, int]) -> nn.Sequential:
    """conv 3x3, ReLU, pool, conv 3x3, ReLU, pool, flatten: (n, channels, H, W) to (n, maps[1] * (H//4) * (W//4))."""
    return nn.Sequential(
        nn.Conv2d(channels, maps[0], 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(maps[0], maps[1], 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )


def build_image_mixture(
    settings: VisionTraining, shape: tuple[int, int, int], classes: int, cnn: Callable[[], nn.Module] | None = None
) -> ImageMixture:
    """A fresh C-DMoE for images of `shape` (H, W, C), from the global random state.

    An expert is a CNN and a layer to the embedding, and the gate sees the pixels; with a shared trunk experts and gate
    see the trunk's features. `cnn` makes a network from (n, C, H, W) to (n, anything), ResNet-18 for CIFAR; by default
    the two-layer CNN.

    Raises InputError for images too small for the CNN's two poolings.
    """
    height, width, channels = shape
    if min(height, width) < 4:
        raise InputError(f"images are {height}x{width}: the CNN halves them twice, so they must be at least 4x4.")

    def trunk() -> nn.Module:
        return two_layer_cnn(channels, settings.channels) if cnn is None else cnn()

    shared = trunk()
    with torch.no_grad():
        features = shared.eval()(torch.zeros(1, channels, height, width)).flatten(1).shape[1]
    shared.train()
    if settings.shared_trunk:
        experts: list[nn.Module] = [nn.Linear(features, settings.embedding) for _ in range(settings.experts)]
        mixture = MixtureOfExperts(experts, DenseGate(features, settings.experts))
        return ImageMixture(mixture, settings.embedding, classes, nn.Sequential(shared, nn.Flatten()))
    trunks = [shared, *(trunk() for _ in range(settings.experts - 1))]
    experts = [nn.Sequential(net, nn.Flatten(), nn.Linear(features, settings.embedding)) for net in trunks]
    return ImageMixture(
        MixtureOfExperts(experts, DenseGate(channels * height * width, settings.experts)), settings.embedding, classes
    )


def as_input(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 (n, H, W, C), 0-255, to float32 (n, C, H, W), -1 to 1."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_images(
    images: Images,
    settings: VisionTraining,
    alpha: float,
    seed: int,
    device: str = "cpu",
    cnn: Callable[[], nn.Module] | None = None,
) -> ImageMixture:
    """Train one C-DMoE on the training images with L = L_task + alpha * L_KD (equation 8); in evaluation mode.

    `seed` decides initialisation and order. Raises InputError for images or labels that do not fit, DivergedError.
    """
    _check(images)
    target = torch.device(device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shape = (images.train.shape[1], images.train.shape[2], images.train.shape[3])
        model = build_image_mixture(settings, shape, images.classes, cnn).to(target).train()
        optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        steps = settings.epochs * -(-len(images.train) // settings.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for epoch in range(1, settings.epochs + 1):
            for rows in torch.split(torch.randperm(len(images.train)), settings.batch_size):
                x = as_input(images.train[rows.numpy()], target)
                y = torch.from_numpy(images.train_labels[rows.numpy()]).to(target)
                logits, output = model(x)
                compared = (
                    in_space(output.expert_outputs, settings.space, model.head) if alpha else output.expert_outputs
                )
                loss = distilled_loss(F.cross_entropy(logits, y), compared, alpha)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            if not torch.isfinite(loss):
                raise DivergedError(f"the loss of seed {seed} with alpha {alpha} is not finite in epoch {epoch}.")
    return model.eval()


@torch.no_grad()
def probe_images(model: ImageMixture, images: Images, device: str = "cpu", batch_size: int = 1000) -> Probe:
    """Probe a C-DMoE on the held-out images; an expert alone answers through the head."""
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(images.test), batch_size):
        logits, output = model(as_input(images.test[start : start + batch_size], torch.device(device)))
        alone = in_space(output.expert_outputs, "logits", model.head)
        parts.append((logits.cpu(), output.weights.cpu(), alone.cpu()))
    logits, weights, alone = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return probe_experts(logits.numpy(), weights.numpy(), alone.numpy(), images.test_labels)


def table_5_row(
    images: Images,
    settings: VisionTraining,
    seeds: Sequence[int],
    alpha: float = 10.0,
    device: str = "cpu",
    cnn: Callable[[], nn.Module] | None = None,
) -> Table5Row:
    """Table 5 on one data set: single, MoE (alpha 0) and MoDE with the same seeds."""
    one = settings.model_copy(update={"experts": 1})
    variants: dict[Literal["single", "moe", "mode"], tuple[VisionTraining, float]] = {
        "single": (one, 0.0),
        "moe": (settings, 0.0),
        "mode": (settings, alpha),
    }
    probes = {
        name: [probe_images(train_images(images, used, strength, seed, device, cnn), images, device) for seed in seeds]
        for name, (used, strength) in variants.items()
    }
    values = {name: [probe.accuracy for probe in of_seeds] for name, of_seeds in probes.items()}
    return Table5Row(
        images=images.name,
        training=settings,
        alpha=alpha,
        seeds=list(seeds),
        single=Summary.of(values["single"]),
        moe=Summary.of(values["moe"]),
        mode=Summary.of(values["mode"]),
        moe_over_single=Paired.of(values["moe"], values["single"]),
        mode_over_moe=Paired.of(values["mode"], values["moe"]),
        moe_probes=probes["moe"],
        mode_probes=probes["mode"],
    )


def _check(images: Images) -> None:
    for part, pixels, labels in (
        ("training", images.train, images.train_labels),
        ("test", images.test, images.test_labels),
    ):
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or len(pixels) == 0:
            raise InputError(
                f"{part} images of {images.name} are {pixels.dtype} {pixels.shape}: give uint8 (N, H, W, C)."
            )
        if labels.shape != pixels.shape[:1]:
            raise InputError(f"{images.name} has {len(pixels)} {part} images, but labels of shape {labels.shape}.")
        if labels.min() < 0 or labels.max() >= images.classes:
            raise InputError(
                f"{part} labels of {images.name} run from {labels.min()} to {labels.max()}, "
                f"but there are {images.classes} classes: 0 to {images.classes - 1} are allowed."
            )
