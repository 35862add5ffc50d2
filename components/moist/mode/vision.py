"""C-DMoE: image classifiers whose embedding is a mixture of experts; how they are built, trained and probed."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from moist.data.dataset import ImageDataset, Split
from moist.errors import DivergedError, InputError
from moist.frozen import Frozen
from moist.mode.distillation import Space, distilled_loss, in_space
from moist.mode.gates import DenseGate
from moist.mode.mixture import MixtureOfExperts, MixtureOutput
from moist.mode.probing import Probe, probe_experts
from moist.models.student import two_convolutions
from moist.models.teacher import resnet18
from moist.training.images import Images
from moist.training.loop import Batch, History, Outcome, Recipe, fit
from moist.training.precision import autocast, placed


class VisionTraining(Frozen):
    """The network of Table 5 and its training; the paper gives 2 experts and 128, and leaves the rest open."""

    network: Literal["cnn", "resnet18"] = Field(
        default="cnn", description="what an expert looks at images with: the two-layer CNN, or CIFAR's ResNet-18"
    )
    experts: int = Field(
        default=2, ge=1, le=1024, description="experts of the mixture; the single model has one of them"
    )
    embedding: int = Field(default=128, ge=1, le=65_536, description="width of the embedding that the experts give")
    channels: tuple[int, int] = Field(default=(16, 32), description="output channels of the CNN's two convolutions")
    shared_trunk: bool = Field(
        default=False, description="one network for all, experts only the layer to the embedding"
    )
    space: Space = Field(default="embeddings", description="where experts are compared")
    epochs: int = Field(default=5, ge=1, description="passes over the training images")
    batch_size: int = Field(default=64, ge=1, description="images a step")
    learning_rate: float = Field(default=1e-3, gt=0, description="of AdamW; falls to 0 along a half cosine")
    weight_decay: float = Field(default=0.0, ge=0, description="of matrices and kernels")
    precision: Literal["auto", "fp32", "bf16"] = Field(default="auto", description="of the forward pass")


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


def two_layer_cnn(channels: int, maps: tuple[int, int]) -> nn.Sequential:
    """Two convolutions, flattened: (n, channels, H, W) to (n, maps[1] * (H//4) * (W//4))."""
    return nn.Sequential(*two_convolutions(channels, maps), nn.Flatten())


def build_image_mixture(settings: VisionTraining, shape: tuple[int, int, int], classes: int) -> ImageMixture:
    """A fresh C-DMoE for images of `shape` (H, W, C), from the global random state.

    An expert is a network and a layer to the embedding, and the gate sees the pixels; with a shared trunk experts and
    gate see the trunk's features.
    """
    height, width, channels = shape

    def trunk() -> nn.Module:
        if settings.network == "cnn":
            return two_layer_cnn(channels, settings.channels)
        network = resnet18(shape, classes)
        network.fc = nn.Identity()
        return network

    shared = trunk()
    with torch.no_grad():
        features = shared.eval()(torch.zeros(1, channels, height, width)).shape[1]
    shared.train()
    if settings.shared_trunk:
        experts: list[nn.Module] = [nn.Linear(features, settings.embedding) for _ in range(settings.experts)]
        mixture = MixtureOfExperts(experts, DenseGate(features, settings.experts))
        return ImageMixture(mixture, settings.embedding, classes, shared)
    trunks = [shared, *(trunk() for _ in range(settings.experts - 1))]
    experts = [nn.Sequential(network, nn.Linear(features, settings.embedding)) for network in trunks]
    gate = DenseGate(channels * height * width, settings.experts)
    return ImageMixture(MixtureOfExperts(experts, gate), settings.embedding, classes)


def train_images(
    data: ImageDataset, settings: VisionTraining, alpha: float, seed: int, device: torch.device
) -> tuple[ImageMixture, History]:
    """Train one C-DMoE on the training images with L = L_task + alpha * L_KD (equation 8); in evaluation mode.

    Also gives what the loop measured: loss and accuracy on the training images, an epoch each. `seed` decides
    initialisation, order and augmentation, whatever `alpha` is, so that differences are paired.

    Raises:
        InputError: for an alpha below 0.
        DivergedError: for a loss that is not finite.
    """
    if not alpha >= 0:
        raise InputError(f"alpha is {alpha}: a distillation strength is 0 or more.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = placed(build_image_mixture(settings, data.shape, len(data.classes)), device)

        def objective(batch: Batch) -> Outcome:
            logits, output = model(batch.images)
            loss = F.cross_entropy(logits, batch.labels)
            if alpha:
                compared = in_space(output.expert_outputs, settings.space, model.head)
                loss = distilled_loss(loss, compared, alpha)
            return Outcome(loss, (logits.argmax(1) == batch.labels).sum())

        recipe = Recipe(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            seed=seed,
            precision=settings.precision,
        )
        try:
            history = fit(model, Images(data, data.train, device, seed), objective, recipe)
        except DivergedError as error:
            raise DivergedError(f"Seed {seed} with alpha {alpha:g}: {error}") from None
    return model, history


@torch.no_grad()
def probe_images(
    model: ImageMixture, data: ImageDataset, split: Split, settings: VisionTraining, batch_size: int = 500
) -> Probe:
    """Probe a C-DMoE on a split of the images; an expert alone answers through the head."""
    device = model.head.weight.device
    images = Images(data, split, device)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for rows in torch.split(torch.arange(len(split)), batch_size):
        with autocast(device, settings.precision):
            logits, output = model(images.view(rows.to(device), 0))
            alone = in_space(output.expert_outputs, "logits", model.head)
        parts.append((logits.float().cpu(), output.weights.float().cpu(), alone.float().cpu()))
    logits, weights, alone = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return probe_experts(logits.numpy(), weights.numpy(), alone.numpy(), split.labels)
