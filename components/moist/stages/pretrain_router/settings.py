"""pretrain_router's settings, inputs and outputs."""

from typing import Literal

from pydantic import Field

from moist.runtime.common_settings import TrainingSettings
from moist.runtime.kinds import CLUSTERS, CURVES, DATASET, METRICS, ROUTER
from moist.runtime.stage import Stage


class Settings(TrainingSettings):
    """Which router, and how it learns the clusters."""

    architecture: Literal["cnn", "linear", "transformer"] = Field("cnn", description="the router's network")
    hidden: int = Field(
        256, ge=2, le=16_384, description="linear router: units of its first hidden layer; half in the next"
    )
    loss: Literal["plain", "double_softmax"] = Field(
        "plain", description="double_softmax is the paper's: softmax at temperature 5, then cross-entropy on top"
    )


STAGE = Stage(
    name="pretrain_router",
    summary="Train the router to tell which student's cluster an image belongs to.",
    settings=Settings,
    inputs={"dataset": DATASET, "clusters": CLUSTERS},
    outputs={"router": ROUTER, "metrics": METRICS, "curves": CURVES},
)
