"""Settings that training stages share, with their bounds."""

import math
from typing import Literal

from pydantic import Field

from moist.runtime.stage import StageSettings


class LoopSettings(StageSettings):
    """How any network is trained for long."""

    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="forward pass; auto takes bf16 on GPUs and on CPUs that multiply it faster (AMX, AVX512-BF16)",
    )
    checkpoint_seconds: float = Field(
        60.0, ge=0, le=86_400, description="seconds between checkpoints, where a place for them is configured"
    )


class TrainingSettings(LoopSettings):
    """How a stage optimises."""

    epochs: int = Field(10, ge=1, le=10_000, description="passes over the training images")
    batch_size: int = Field(64, ge=1, le=65_536, description="images a step")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="peak learning rate; cosine to zero after the warm-up")
    weight_decay: float = Field(0.0, ge=0, le=1, description="weight decay of matrices and kernels")
    warmup_epochs: float = Field(0.0, ge=0, le=100, description="epochs of linear warm-up")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of weights, order and dropout")


class DistillationSettings(TrainingSettings):
    """How a stage learns from the teacher."""

    temperature: float = Field(5.0, gt=0, le=100, description="distillation temperature T")
    teacher_weight: float = Field(
        0.7, ge=0, le=1, description="weight of T^2 * KL(teacher, student); the labels' cross-entropy has the rest"
    )
    fresh_views: bool = Field(
        False,
        description="new augmented views every epoch, with the mean of the teacher's logits of an image's stored views",
    )


def numbers(text: str) -> list[float]:
    """Numbers divided by commas. Raises ValueError for anything else."""
    return [float(part) for part in text.split(",")]


def check_strengths(text: str, above_zero: bool = False) -> None:
    """Raises ValueError unless these are different numbers divided by commas, none below 0."""
    values = numbers(text)
    if any(not math.isfinite(value) or value < 0 or (above_zero and value == 0) for value in values):
        raise ValueError(f"each must be a number{' above 0' if above_zero else ', 0 or more'}")
    if len(set(values)) < len(values):
        raise ValueError("one is there twice")
