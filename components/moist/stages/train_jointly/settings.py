"""train_jointly's settings, inputs and outputs."""

from typing import Literal

from pydantic import Field

from moist.runtime.common_settings import DistillationSettings
from moist.runtime.kinds import CLUSTERS, CURVES, DATASET, LOGITS, METRICS, MIXTURE, ROUTER, STUDENT
from moist.runtime.stage import Port, Stage


class Settings(DistillationSettings):
    """How router and students learn together."""

    routing: Literal["soft", "hard", "oracle"] = Field(
        "soft",
        description=(
            "soft is differentiable and trains the router too; hard is the paper's, where no gradient reaches it; "
            "oracle routes by the label: the conceptual 100% router, an upper bound"
        ),
    )
    others_weight: float = Field(
        0.2, ge=0, le=1, description="soft: weight of the images of other clusters in each student's loss"
    )
    router_weight: float = Field(1.0, ge=0, le=100, description="soft: weight of the router's own cross-entropy")
    mutual_weight: float = Field(
        0.0, ge=0, le=1000, description="soft: weight of the students' mutual distillation (MoDE, equations 9 and 10)"
    )
    mutual_space: Literal["logits", "probabilities"] = Field(
        "logits", description="soft: what the students' mutual distillation compares"
    )
    shared_layers: int = Field(
        0,
        ge=0,
        le=2,
        description=(
            "convolutions that all students share; from 1 on the router is a small head on what comes out of them, "
            "made and trained here"
        ),
    )
    second_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description=(
            "share of the validation images, those of which the router is least sure, on which a second student runs; "
            "sets the threshold from which that happens"
        ),
    )


STAGE = Stage(
    name="train_jointly",
    summary="Copy the student once per cluster and train the copies together with the router.",
    settings=Settings,
    inputs={
        "dataset": DATASET,
        "student": STUDENT,
        "router": Port(
            ROUTER.kind, "Model", ROUTER.description + "; none for routing=oracle or shared_layers", optional=True
        ),
        "clusters": CLUSTERS,
        "logits": LOGITS,
    },
    outputs={"mixture": MIXTURE, "metrics": METRICS, "curves": CURVES},
)
