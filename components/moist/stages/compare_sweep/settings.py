"""compare_sweep's settings, inputs and outputs."""

from pydantic import Field

from moist.runtime.stage import Port, Stage, StageSettings


class Settings(StageSettings):
    """What counts as no difference."""

    margin: float = Field(
        0.005, gt=0, lt=1, description="accuracy, 0-1: where the paper sees no effect, one smaller than this is none"
    )


STAGE = Stage(
    name="compare_sweep",
    summary="Lay the points of a sweep, over all seeds, beside the MoIST paper: tables, plots, what holds.",
    settings=Settings,
    inputs={"results": Port("results", "Metrics", "what evaluate measured of the sweep, for each seed", many=True)},
    outputs={
        "metrics": Port("sweep", "Metrics", "every figure of the tables"),
        "text": Port("tables", "Markdown", "the tables as text"),
        "report": Port("report", "HTML", "the report: one self-contained page"),
    },
    image="slim",
)
