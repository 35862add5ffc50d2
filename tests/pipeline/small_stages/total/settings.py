"""The third small stage's settings, inputs and outputs."""

from moist.runtime.stage import Port, StageSettings

from small_stages.numbers.settings import STAGE as NUMBERS
from small_stages.scale.settings import STAGE as SCALE
from small_stages.small_stage import SmallStage


class Settings(StageSettings):
    """Nothing to set."""


STAGE = SmallStage(
    name="total",
    summary="Add up.",
    settings=Settings,
    inputs={"scaled": SCALE.outputs["scaled"], "numbers": NUMBERS.outputs["numbers"]},
    outputs={"metrics": Port("total", "Metrics", "the sums")},
    image="slim",
    alone=True,
)
