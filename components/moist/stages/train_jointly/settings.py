"""train_jointly's settings, inputs and outputs."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from moist.runtime.common_settings import DistillationSettings
from moist.runtime.kinds import CLUSTERS, CURVES, DATASET, LOGITS, METRICS, MIXTURE, ROUTER, STUDENT
from moist.runtime.stage import Port, Stage


class Settings(DistillationSettings):
    """How router and students learn together."""

    epochs: int = Field(
        10, ge=0, le=10_000, description="passes over the training images; 0, with router_answers, for no training"
    )
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
    router_answers: bool = Field(
        False,
        validate_default=True,
        description=(
            "the router, which must be a class router, answers itself, and the student that it chooses is the second "
            "opinion: it runs on second_share of the images only, and the answer there is the mean of both"
        ),
    )
    second_mirrored: bool = Field(
        False,
        validate_default=True,
        description="with router_answers: for the second opinion router and student look at the mirrored image, too",
    )

    @field_validator("mutual_weight")
    @classmethod
    def _is_heeded(cls, mutual_weight: float, info: ValidationInfo) -> float:
        if mutual_weight and info.data.get("routing") != "soft":
            raise ValueError("it would do nothing: only routing=soft trains all students on every image")
        return mutual_weight

    @field_validator("shared_layers")
    @classmethod
    def _has_a_trained_router(cls, shared_layers: int, info: ValidationInfo) -> int:
        if shared_layers and info.data.get("routing") == "hard":
            raise ValueError("with routing=hard nothing trains the router of shared layers; it needs routing=soft")
        return shared_layers

    @field_validator("router_answers")
    @classmethod
    def _fits_the_others(cls, router_answers: bool, info: ValidationInfo) -> bool:
        others = info.data
        if router_answers and (others.get("shared_layers") or others.get("routing") == "oracle"):
            raise ValueError("it needs a class router: no shared_layers, and no routing=oracle")
        if router_answers and others.get("second_share") == 0:
            raise ValueError("it needs a second_share above 0, or no student would ever run")
        if others.get("second_share") and others.get("routing") == "oracle":
            raise ValueError("second_share needs a router: no routing=oracle")
        if not router_answers and others.get("epochs") == 0:
            raise ValueError("with epochs=0 all students are alike, and a router has nothing to choose")
        return router_answers

    @field_validator("second_mirrored")
    @classmethod
    def _has_a_second_opinion(cls, second_mirrored: bool, info: ValidationInfo) -> bool:
        if second_mirrored and not info.data.get("router_answers"):
            raise ValueError("it needs router_answers")
        return second_mirrored


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
