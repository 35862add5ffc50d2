"""The first small stage's settings, inputs and outputs."""

from moist.runtime.stage import Port, StageSettings
from pydantic import Field

from small_stages.small_stage import SmallStage


class Settings(StageSettings):
    """How many numbers."""

    count: int = Field(3, ge=1, le=1000, description="how many numbers")


STAGE = SmallStage(
    name="numbers",
    summary="Make numbers.",
    settings=Settings,
    inputs={},
    outputs={"numbers": Port("numbers", "Dataset", "1, 2, 3 and so on")},
    image="slim",
)
