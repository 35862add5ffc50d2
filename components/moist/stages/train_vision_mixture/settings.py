"""train_vision_mixture's settings, inputs and outputs."""

from typing import Literal

from pydantic import Field, field_validator

from moist.runtime.common_settings import LoopSettings, check_strengths, numbers
from moist.runtime.kinds import CURVES, DATASET, IMAGE_RESULTS, METRICS
from moist.runtime.stage import Port, Stage


class Settings(LoopSettings):
    """Which experts look at the images, at which distillation strengths, and how they learn."""

    network: Literal["auto", "cnn", "resnet18"] = Field(
        "auto",
        description="an expert: the two-layer CNN, or CIFAR's ResNet-18; auto: ResNet-18 for cifar10 and cifar100",
    )
    experts: int = Field(2, ge=2, le=1024, description="experts under the dense gate")
    embedding: int = Field(128, ge=1, le=65_536, description="width of the embedding in which experts are mixed")
    channels: str = Field("16, 32", description="output channels of the CNN's two convolutions, divided by a comma")
    shared_trunk: bool = Field(False, description="one network for all, experts only the layer to the embedding")
    alphas: str = Field(
        "0.1, 1, 10",
        description="distillation strengths above 0, divided by commas; validation images choose, 0 is trained too",
    )
    runs: int = Field(3, ge=1, le=1000, description="seeds: each its own initialisation, order and augmentation")
    seed: int = Field(0, ge=0, lt=2**31 - 1000, description="the first seed; the others follow")
    epochs: int = Field(5, ge=1, le=10_000, description="passes over the training images")
    batch_size: int = Field(64, ge=1, le=65_536, description="images a step")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="of AdamW; cosine to zero")
    weight_decay: float = Field(0.0, ge=0, le=1, description="weight decay of matrices and kernels")
    space: Literal["embeddings", "outputs", "logits", "probabilities"] = Field(
        "embeddings", description="where experts are compared; embeddings and outputs are the same here"
    )

    @field_validator("alphas")
    @classmethod
    def _strengths(cls, text: str) -> str:
        check_strengths(text, above_zero=True)
        return text

    @field_validator("channels")
    @classmethod
    def _two(cls, text: str) -> str:
        values = numbers(text)
        if len(values) != 2 or any(not (1 <= value <= 1024 and value.is_integer()) for value in values):
            raise ValueError("give two whole numbers from 1 to 1024")
        return text

    @property
    def strengths(self) -> list[float]:
        """The alphas as numbers, in the order given."""
        return numbers(self.alphas)

    @property
    def maps(self) -> tuple[int, int]:
        """The CNN's channels as numbers."""
        first, second = numbers(self.channels)
        return int(first), int(second)

    @property
    def seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.runs))


STAGE = Stage(
    name="train_vision_mixture",
    summary="Train one expert, MoE and MoDE on images with the same seeds, and probe their experts on the test images.",
    settings=Settings,
    inputs={"dataset": DATASET},
    outputs={
        "results": IMAGE_RESULTS,
        "mixture": Port("image mixture", "Model", "the first seed's MoDE, at the strength that validation prefers"),
        "metrics": METRICS,
        "curves": CURVES,
    },
)
