"""pretrain_router's settings, inputs and outputs."""

from typing import Literal

from pydantic import Field

from moist.runtime.common_settings import DistillationSettings
from moist.runtime.kinds import CLUSTERS, CURVES, DATASET, LOGITS, METRICS, ROUTER
from moist.runtime.stage import Port, Stage


class Settings(DistillationSettings):
    """Which router, and how it learns the clusters."""

    architecture: Literal["cnn", "linear", "transformer", "class"] = Field(
        "cnn",
        description="the router's network; class is a narrow student that learns the classes, from the teacher if its "
        "logits are given, and adds their probabilities up",
    )
    hidden: int = Field(
        256,
        ge=2,
        le=16_384,
        description="linear router: units of its first hidden layer, half in the next; class router: its only one's",
    )
    channels: int = Field(
        32, ge=1, le=1024, description="class router: channels of its second convolution, half in the first"
    )
    loss: Literal["plain", "double_softmax"] = Field(
        "plain", description="double_softmax is the paper's: softmax at temperature 5, then cross-entropy on top"
    )


STAGE = Stage(
    name="pretrain_router",
    summary="Train the router to tell which student's cluster an image belongs to.",
    settings=Settings,
    inputs={
        "dataset": DATASET,
        "clusters": CLUSTERS,
        "logits": Port(LOGITS.kind, "Dataset", "class router: the teacher's logits, to learn from", optional=True),
    },
    outputs={"router": ROUTER, "metrics": METRICS, "curves": CURVES},
)
