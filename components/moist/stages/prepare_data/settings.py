"""prepare_data's settings, inputs and outputs."""

from typing import Literal

from pydantic import Field

from moist.runtime.kinds import DATASET, METRICS
from moist.runtime.stage import Stage, StageSettings


class Settings(StageSettings):
    """Which data set, and how it is split."""

    name: Literal["digits", "mnist", "fashion-mnist", "cifar10", "cifar100"] = Field(
        "digits", description="digits, mnist, fashion-mnist, cifar10 or cifar100"
    )
    source: str = Field(
        "bundled", description="bundled (digits), download, or a folder, archive or s3:// URI in the official layout"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the splits")
    validation_fraction: float = Field(
        0.1, ge=0, lt=0.9, description="share of the training images held out to calibrate"
    )
    test_fraction: float = Field(0.2, gt=0, lt=0.9, description="share held out where there is no official test split")
    train_limit: int = Field(0, ge=0, description="keep so many training images, stratified; 0 keeps all")
    test_limit: int = Field(0, ge=0, description="keep so many test images, stratified; 0 keeps all")
    augmentation: Literal["auto", "none", "shift", "shift+flip"] = Field(
        "auto", description="how training images are varied; auto chooses by data set"
    )


STAGE = Stage(
    name="prepare_data",
    summary="Bring an image data set here, check it and split it.",
    settings=Settings,
    inputs={},
    outputs={"dataset": DATASET, "metrics": METRICS},
    image="slim",
)
