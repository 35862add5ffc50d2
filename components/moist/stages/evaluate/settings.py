"""evaluate's settings, inputs and outputs."""

from typing import Literal

from pydantic import Field

from moist.runtime.kinds import CLUSTERS, DATASET, MIXTURE, STUDENT, TEACHER
from moist.runtime.stage import Port, Stage, StageSettings


class Settings(StageSettings):
    """How the models are measured."""

    batch_size: int = Field(500, ge=1, le=65_536, description="images a step when accuracy is measured")
    latency_seconds: float = Field(
        2.0, ge=0, le=600, description="seconds of timing for each of the batch sizes 1 and 64, shared by all models"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="number format of the forward pass")
    seed: int = Field(0, ge=0, lt=2**31, description="the run's seed, for the report")


def _mixture(router: str) -> Port:
    return Port(MIXTURE.kind, "Model", f"a mixture with the {router} router", optional=True)


def _swept(what: str) -> Port:
    return Port(MIXTURE.kind, "Model", f"a sweep: mixtures that differ in {what}", optional=True, many=True)


STAGE = Stage(
    name="evaluate",
    summary="Measure teacher, student, mixtures and controls on the held-out images, and write table and report.",
    settings=Settings,
    inputs={
        "dataset": DATASET,
        "clusters": CLUSTERS,
        "teacher": TEACHER,
        "student": STUDENT,
        "mixture": MIXTURE,
        "mixture_transformer": _mixture("transformer"),
        "mixture_linear": _mixture("linear"),
        "oracle": Port(MIXTURE.kind, "Model", "the conceptual mixture that routes by the label", optional=True),
        "same_budget": Port(STUDENT.kind, "Model", "control: one student, same training budget", optional=True),
        "same_cost": Port(STUDENT.kind, "Model", "control: one student, same inference cost", optional=True),
        "students": Port(STUDENT.kind, "Model", "a sweep: students of other widths", optional=True, many=True),
        "by_k": _swept("the number of students"),
        "by_width": _swept("the students' width"),
        "by_router": _swept("the router"),
        "by_size": _swept("the linear router's size"),
    },
    outputs={
        "metrics": Port("results", "Metrics", "every figure of the table"),
        "classification": Port("classification", "ClassificationMetrics", "the mixture's confusion matrix"),
        "table": Port("table", "Markdown", "the table"),
        "report": Port("report", "HTML", "the report: one self-contained page"),
    },
    alone=True,
)
