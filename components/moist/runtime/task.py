"""One task: its settings, inputs and outputs, read from flags or from what Kubeflow passes as `{{$}}`."""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from moist.errors import InputError
from moist.runtime.stage import Stage, StageSettings, parse_settings
from moist.runtime.store import is_uri


KFP_PARAMETERS = frozenset(
    {"accelerator_count", "accelerator_type", "cpu_limit", "cpu_request", "memory_limit", "memory_request"}
)


@dataclass(frozen=True)
class InputReference:
    """An input as it was passed: a path or URI, and the digest that its producer reported, if any."""

    location: str
    digest: str | None = None


@dataclass(frozen=True)
class Task:
    """What to run: the stage's settings, and where its artifacts come from and go to."""

    name: str
    settings: StageSettings
    inputs: dict[str, list[InputReference]]
    outputs: dict[str, str]
    executor_input: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def output_file(self) -> Path | None:
        """Where Kubeflow wants the executor output; None when the stage was run by hand."""
        return None if self.executor_input is None else Path(self.executor_input["outputs"]["outputFile"])


def parse_task(stage: Stage, argv: Sequence[str]) -> Task:
    """Read a stage's command line.

    Raises:
        InputError: for settings out of bounds, a missing input, or an executor input that is not one.
    """
    arguments = vars(_parser(stage).parse_args(argv))
    executor_input = arguments.pop("executor_input")
    if executor_input is not None:
        return _from_executor_input(stage, executor_input)
    values = {name: arguments[name] for name in stage.settings.model_fields if arguments[name] is not None}
    inputs = {}
    for name, port in stage.inputs.items():
        locations = arguments[name] if port.many else [arguments[name]] if arguments[name] else []
        if not locations and not port.optional:
            raise InputError(f"--{name.replace('_', '-')} is missing: {port.description} (a path or an s3:// URI).")
        inputs[name] = [InputReference(location) for location in locations or []]
    outputs = {name: arguments[name] for name in stage.outputs if arguments[name]}
    return Task(stage.name, parse_settings(stage.settings, values), inputs, outputs)


def _parser(stage: Stage) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {stage.module}", description=stage.summary, allow_abbrev=False, exit_on_error=True
    )
    artifacts = parser.add_argument_group("artifacts", "each a path or an s3:// URI")
    for name, port in stage.inputs.items():
        note = " (optional)" if port.optional else ""
        many = {"nargs": "*"} if port.many else {}
        artifacts.add_argument(_flag(name), metavar="IN", help=f"{_percent(port.description)}{note}", **many)  # type: ignore[arg-type]
    for name, port in stage.outputs.items():
        artifacts.add_argument(_flag(name), metavar="OUT", help=f"where to write: {_percent(port.description)}")
    settings = parser.add_argument_group("settings")
    for name, info in stage.settings.model_fields.items():
        settings.add_argument(
            _flag(name), metavar=_metavar(info), help=f"{_percent(info.description or '')} [{info.default}]"
        )
    parser.add_argument("--executor-input", metavar="JSON", help="what Kubeflow passes; replaces all other flags")
    return parser


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _metavar(info: FieldInfo) -> str:
    if get_origin(info.annotation) is Literal:
        return "{" + ",".join(str(value) for value in get_args(info.annotation)) + "}"
    return getattr(info.annotation, "__name__", "value").upper()


def _from_executor_input(stage: Stage, text: str) -> Task:
    try:
        executor_input = json.loads(text)
        outputs = executor_input["outputs"]
        output_file = Path(outputs["outputFile"])
        given = executor_input.get("inputs", {})
        references = {
            name: [_reference(artifact) for artifact in entry.get("artifacts", [])]
            for name, entry in given.get("artifacts", {}).items()
        }
        locations = {name: entry["artifacts"][0]["uri"] for name, entry in outputs.get("artifacts", {}).items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise InputError(
            f"--executor-input is not what Kubeflow passes as {{{{$}}}} ({type(error).__name__}: {error}); "
            "to run a stage by hand use its flags, see --help."
        ) from None
    for name, port in stage.inputs.items():
        if not references.get(name) and not port.optional:
            raise InputError(f"Input {name} is missing: {port.description}.")
    return Task(
        name=output_file.parent.name,
        settings=parse_settings(stage.settings, settings_values(given.get("parameterValues", {}))),
        inputs={name: references.get(name, []) for name in stage.inputs},
        outputs=locations,
        executor_input=executor_input,
    )


def _reference(artifact: dict[str, Any]) -> InputReference:
    return InputReference(artifact["uri"], artifact.get("metadata", {}).get("digest"))


def settings_values(parameters: dict[str, Any]) -> dict[str, Any]:
    """A task's settings from its Kubeflow parameters.

    Where pipeline parameters size a task, kfp hands them to the task too, under names of its own; they are no settings.
    """
    return {
        name: _whole(value)
        for name, value in parameters.items()
        if name not in KFP_PARAMETERS and not name.startswith("pipelinechannel--")
    }


def _whole(value: Any) -> Any:
    """Kubeflow's numbers are all doubles; give whole ones back as int."""
    return int(value) if isinstance(value, float) and math.isfinite(value) and value.is_integer() else value


def local_path(location: str) -> Path:
    """The path at which Kubeflow's launcher puts a URI (`s3://b/k` at `/s3/b/k`), or the path itself."""
    if is_uri(location) or location.startswith("gs://"):
        scheme, rest = location.split("://", 1)
        return Path("/", {"gs": "gcs"}.get(scheme, scheme), rest)
    return Path(location)
