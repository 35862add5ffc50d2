"""distill_student's settings, inputs and outputs."""

from typing import Literal

from pydantic import Field

from moist.runtime.common_settings import DistillationSettings
from moist.runtime.kinds import CLUSTERS, CURVES, DATASET, LOGITS, METRICS, STUDENT, TEACHER
from moist.runtime.stage import Port, Stage


class Settings(DistillationSettings):
    """Which student, how it learns, and whether it is a control for a mixture."""

    width: int = Field(256, ge=1, le=16_384, description="units of the student's hidden layer")
    control: Literal["none", "same_budget", "same_cost"] = Field(
        "none",
        description=(
            "same_budget trains with as many multiply-adds as the mixture, same_cost also widens the student until it "
            "needs as many at inference; both replace epochs, and need clusters"
        ),
    )
    router: Literal["cnn", "linear", "transformer", "class"] = Field(
        "cnn", description="for controls: the mixture's router"
    )
    router_hidden: int = Field(
        256, ge=2, le=16_384, description="for controls: the linear or class router's first hidden layer"
    )
    router_channels: int = Field(
        32, ge=1, le=1024, description="for controls: channels of the class router's second convolution"
    )
    router_epochs: int = Field(10, ge=1, le=10_000, description="for controls: the router's epochs")
    joint_epochs: int = Field(10, ge=0, le=10_000, description="for controls: the joint training's epochs")
    routing: Literal["soft", "hard"] = Field("soft", description="for controls: the joint training's routing")
    shared_layers: int = Field(
        0,
        ge=0,
        le=2,
        description="for controls: convolutions that the mixture's students share; its router is a head then",
    )
    router_answers: bool = Field(
        False, description="for controls: whether the mixture's router answers itself, a student its second opinion"
    )
    second_share: float = Field(
        0.0, ge=0, le=1, description="for controls: share of the images on which a second student of the mixture runs"
    )
    second_mirrored: bool = Field(
        False, description="for controls: whether the mixture's second opinion looks at the mirrored image, too"
    )


STAGE = Stage(
    name="distill_student",
    summary="Distil the teacher into one student: the mixture's starting point, or a control beside it.",
    settings=Settings,
    inputs={
        "dataset": DATASET,
        "logits": LOGITS,
        "teacher": Port(
            TEACHER.kind, "Model", "asked anew for every augmented image instead of its stored logits", optional=True
        ),
        "clusters": Port(CLUSTERS.kind, "Artifact", "for controls: the mixture's clusters", optional=True),
    },
    outputs={"student": STUDENT, "metrics": METRICS, "curves": CURVES},
)
