"""probe_experts' settings, inputs and outputs."""

from moist.runtime.kinds import TABLE, TABLE_MIXTURES, TABLE_RESULTS
from moist.runtime.stage import Port, Stage, StageSettings


class Settings(StageSettings):
    """Nothing to set: the mixtures carry the seeds of their splits."""


STAGE = Stage(
    name="probe_experts",
    summary="Ask every expert of every mixture alone, on the test rows, and bring one table's results together.",
    settings=Settings,
    inputs={
        "table": TABLE,
        "mixtures": Port(TABLE_MIXTURES.kind, "Model", "all variants trained on the table", many=True),
    },
    outputs={"results": TABLE_RESULTS},
)
