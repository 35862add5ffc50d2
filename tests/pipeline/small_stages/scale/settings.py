"""The second small stage's settings, inputs and outputs."""

from moist.runtime.stage import Port, StageSettings
from pydantic import Field

from small_stages.numbers.settings import STAGE as NUMBERS
from small_stages.small_stage import SmallStage


class Settings(StageSettings):
    """By how much."""

    factor: float = Field(2.0, gt=0, le=100, description="what each number is multiplied by")
    offset: int = Field(0, ge=0, le=100, description="what is added to each")


STAGE = SmallStage(
    name="scale",
    summary="Scale numbers.",
    settings=Settings,
    inputs={"numbers": NUMBERS.outputs["numbers"]},
    outputs={
        "scaled": Port("scaled", "Dataset", "the numbers, scaled"),
        "page": Port("page", "HTML", "what was done"),
    },
    image="slim",
)
