"""prepare_table's settings, inputs and outputs."""

from pydantic import Field

from moist.runtime.kinds import METRICS, TABLE
from moist.runtime.stage import Stage, StageSettings


class Settings(StageSettings):
    """Which table, and which of its columns is the class."""

    source: str = Field(
        "digits",
        min_length=1,
        description="digits (bundled), a table of the MoDE paper by name (from OpenML), an OpenML number, or a .tsv, "
        ".csv or .arff file (also .gz; a path or an s3:// URI)",
    )
    target: str = Field("", description="the column with the class; empty is target, else class, else the last column")


STAGE = Stage(
    name="prepare_table",
    summary="Bring a table here, check it, and name its classes.",
    settings=Settings,
    inputs={},
    outputs={"table": TABLE, "metrics": METRICS},
    image="slim",
)
