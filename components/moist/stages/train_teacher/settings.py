"""train_teacher's settings, inputs and outputs."""

from typing import Literal

from pydantic import Field

from moist.runtime.common_settings import TrainingSettings
from moist.runtime.kinds import CURVES, DATASET, LOGITS, METRICS, TEACHER
from moist.runtime.stage import Stage


class Settings(TrainingSettings):
    """Which teacher, and how it is trained."""

    architecture: Literal["resnet18", "small_resnet"] = Field(
        "small_resnet", description="resnet18 is the paper's; small_resnet is for machines without a GPU"
    )
    batch_size: int = Field(128, ge=1, le=65_536, description="images a step")
    optimizer: Literal["adamw", "sgd", "muon"] = Field(
        "adamw",
        description=(
            "sgd has Nesterov momentum 0.9; its usual learning rate is 0.1, its weight decay 5e-4. muon turns kernels "
            "as matrices; its usual learning rate is 0.05, and weight decay is for the last layer only"
        ),
    )
    learning_rate: float = Field(3e-3, gt=0, le=10, description="peak learning rate; cosine to zero after the warm-up")
    weight_decay: float = Field(0.05, ge=0, le=1, description="weight decay of matrices and kernels")
    warmup_epochs: float = Field(1.0, ge=0, le=100, description="epochs of linear warm-up")
    reduced: float = Field(
        0.0,
        ge=0,
        le=1,
        description=(
            "share of the epochs, the first ones, on smaller images: half of these at half the height and width, half "
            "at three quarters"
        ),
    )
    cutout: int = Field(
        0, ge=0, le=1024, description="side, in pixels, of the square hidden in each training image; 0 hides nothing"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of each label that is spread evenly over all classes"
    )
    views: int = Field(
        8, ge=0, le=1000, description="augmented views of the training set whose logits are stored for distillation"
    )
    view_seed: int = Field(
        0, ge=0, lt=2**31, description="seed of the stored views, the same for all who learn from them"
    )


STAGE = Stage(
    name="train_teacher",
    summary="Train the expensive classifier and store its logits over the training images.",
    settings=Settings,
    inputs={"dataset": DATASET},
    outputs={"teacher": TEACHER, "logits": LOGITS, "metrics": METRICS, "curves": CURVES},
)
