"""What a stage is: its settings, its inputs and its outputs, declared once and free of torch and kfp."""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from moist.errors import InputError

ArtifactType = Literal["Dataset", "Model", "Metrics", "ClassificationMetrics", "HTML", "Markdown", "Artifact"]


class StageSettings(BaseModel):
    """Base of every stage's settings: the only home of their defaults, bounds and descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


SettingsT = TypeVar("SettingsT", bound=StageSettings)


@dataclass(frozen=True)
class Port:
    """One artifact that a stage takes or gives.

    `kind` is checked when the artifact is read, so that a student cannot be passed as a teacher.
    `type` is what the Kubeflow UI shows it as. HTML and Markdown artifacts are one file; every other one is a folder.
    """

    kind: str
    type: ArtifactType
    description: str
    optional: bool = False
    many: bool = False

    @property
    def is_file(self) -> bool:
        return self.type in ("HTML", "Markdown")


@dataclass(frozen=True)
class Stage:
    """A stage: a container component to Kubeflow, a program to everyone else."""

    name: str
    summary: str
    settings: type[StageSettings]
    inputs: dict[str, Port]
    outputs: dict[str, Port]
    image: Literal["slim", "train"] = "train"
    alone: bool = False
    """Whether it measures time, so that on one machine no other task may be under way."""

    @property
    def module(self) -> str:
        """The program's module, run as `python -m moist.stages.<stage>.program`."""
        return f"moist.stages.{self.name}.program"


def parse_settings(model: type[SettingsT], values: dict[str, Any]) -> SettingsT:
    """Validate settings.

    Raises:
        InputError: with every problem in one sentence each, naming the setting, its value and what is allowed.
    """
    try:
        return model(**values)
    except ValidationError as error:
        raise InputError(" ".join(_sentence(model, dict(problem)) for problem in error.errors())) from None


def _sentence(model: type[StageSettings], problem: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in problem["loc"]) or "settings"
    if problem["type"] == "extra_forbidden":
        return f"Unknown setting {name!r}; the settings are {', '.join(model.model_fields)}."
    field = model.model_fields.get(name)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    reason = str(problem["msg"]).removeprefix("Value error, ")
    return f"Setting {name}={problem['input']!r} is not allowed: {reason[:1].lower()}{reason[1:]}{meaning}."
