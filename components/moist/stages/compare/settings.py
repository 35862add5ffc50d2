"""compare's settings, inputs and outputs."""

from pydantic import Field, field_validator

from moist.runtime.common_settings import check_strengths, numbers
from moist.runtime.kinds import IMAGE_RESULTS, TABLE_RESULTS, TRANSLATION_RESULTS
from moist.runtime.stage import Port, Stage, StageSettings


class Settings(StageSettings):
    """Which distillation strengths are compared."""

    candidates: str = Field(
        "0.01, 0.1",
        description="tables: strengths among which validation chooses MoDE's, each above 0, divided by commas",
    )
    shown: str = Field(
        "0, 0.01, 100", description="distillation strengths of Table 6 and Figs 1 and 3, divided by commas"
    )

    @field_validator("candidates", "shown")
    @classmethod
    def _numbers(cls, text: str) -> str:
        check_strengths(text)
        return text

    @property
    def choose_from(self) -> list[float]:
        return numbers(self.candidates)

    @property
    def show(self) -> list[float]:
        return numbers(self.shown)


STAGE = Stage(
    name="compare",
    summary="Lay what was measured beside the MoDE paper: tables, differences, plots, what holds.",
    settings=Settings,
    inputs={
        "tables": Port(TABLE_RESULTS.kind, "Metrics", "the results of each table", many=True),
        "images": Port(IMAGE_RESULTS.kind, "Metrics", "the results of each image data set", optional=True, many=True),
        "translations": Port(
            TRANSLATION_RESULTS.kind, "Metrics", "the results of each translator", optional=True, many=True
        ),
    },
    outputs={
        "metrics": Port("comparison", "Metrics", "every figure of the tables"),
        "text": Port("tables", "Markdown", "the tables as text"),
        "report": Port("report", "HTML", "the report: one self-contained page"),
    },
    image="slim",
)
