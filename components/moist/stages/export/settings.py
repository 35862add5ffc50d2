"""export's settings, inputs and outputs."""

from pydantic import Field

from moist.runtime.kinds import DATASET, METRICS, MIXTURE
from moist.runtime.stage import Port, Stage, StageSettings


class Settings(StageSettings):
    """How far the exported model may be from PyTorch, on the held-out images."""

    batch_size: int = Field(64, ge=1, le=65_536, description="images a step when the runtimes are checked")
    tolerance: float = Field(
        1e-4,
        gt=0,
        le=1,
        description="largest difference of logits allowed, in units of PyTorch's largest absolute logit if above 1",
    )
    accuracy_tolerance: float = Field(
        0.001, ge=0, le=1, description="largest difference of accuracy allowed, as a share of the held-out images"
    )


STAGE = Stage(
    name="export",
    summary="Write the mixture as one ONNX model with sparse dispatch, and check it against PyTorch.",
    settings=Settings,
    inputs={"dataset": DATASET, "mixture": MIXTURE},
    outputs={
        "model": Port("onnx model", "Model", "mixture.onnx: uint8 images in, logits and the chosen student out"),
        "metrics": METRICS,
    },
)
