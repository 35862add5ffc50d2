"""One task: its settings, inputs and outputs, read from flags or from what Kubeflow passes as `{{$}}`."""

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from moist.errors import InputError
from moist.runtime.location import is_uri
from moist.runtime.stage import Stage, StageSettings, parse_settings

KFP_PARAMETERS = frozenset(
    {"accelerator_count", "accelerator_type", "cpu_limit", "cpu_request", "memory_limit", "memory_request"}
)

GPU_COUNT = "pipelinechannel--gpu_count"
"""How kfp hands a task the pipeline parameter that says how many GPUs it is given."""

ITERATION = re.compile(r"-iteration-(\d+)$")

ON_CLUSTER = re.compile(r"(.+)/([^/]+)/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/[^/]+")
"""Where an output lies on a cluster: `<run>/<task>/<uuid>/<output>`; kfp.local has no UUID there."""

EXECUTOR_LOGS = "executor-logs"
"""What Kubeflow's driver adds to every task's outputs, for its launcher to write (PUBLISH_LOGS, on by default)."""


class _Artifact(BaseModel):
    uri: str = Field(min_length=1)
    metadata: dict[str, Any] = {}


class _Artifacts(BaseModel):
    artifacts: list[_Artifact] = []


class _Inputs(BaseModel):
    parameterValues: dict[str, Any] = {}  # noqa: N815 - Kubeflow's name
    artifacts: dict[str, _Artifacts] = {}


class _Outputs(BaseModel):
    outputFile: str = Field(min_length=1)  # noqa: N815 - Kubeflow's name
    artifacts: dict[str, _Artifacts] = {}


class _ExecutorInput(BaseModel):
    """The parts of Kubeflow's `{{$}}` that a stage reads."""

    inputs: _Inputs = _Inputs()
    outputs: _Outputs


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
    output_file: Path | None = None
    """Where Kubeflow wants the executor output; None when the stage was run by hand."""
    gpus: int = 0
    """How many GPUs the pipeline asked for; only a cluster gives them."""


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
    parser = argparse.ArgumentParser(prog=f"python -m {stage.module}", description=stage.summary, allow_abbrev=False)
    artifacts = parser.add_argument_group("artifacts", "each a path or an s3:// URI")
    for name, port in stage.inputs.items():
        note = " (optional)" if port.optional else ""
        many = {"nargs": "*"} if port.many else {}
        artifacts.add_argument(_flag(name), metavar="IN", help=f"{_percent(port.description)}{note}", **many)  # type: ignore[arg-type]
    for name, port in stage.outputs.items():
        artifacts.add_argument(_flag(name), metavar="OUT", help=f"where to write: {_percent(port.description)}")
    settings = parser.add_argument_group("settings")
    for name, info in stage.settings.model_fields.items():
        switch = {"nargs": "?", "const": "true"} if info.annotation is bool else {}
        shown = f"{_percent(info.description or '')} [{info.default}]"
        settings.add_argument(_flag(name), metavar=_metavar(info), help=shown, **switch)  # type: ignore[arg-type]
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
        given = _ExecutorInput.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "as a whole"
        raise InputError(
            f"--executor-input is not what Kubeflow passes as {{{{$}}}} ({place}: {str(first['msg'])[:200]}); "
            "to run a stage by hand use its flags, see --help."
        ) from None
    inputs = {name: entry.artifacts for name, entry in given.inputs.artifacts.items()}
    outputs = {name: entry.artifacts for name, entry in given.outputs.artifacts.items() if name != EXECUTOR_LOGS}
    for name in [*(inputs.keys() - stage.inputs.keys()), *(outputs.keys() - stage.outputs.keys())]:
        raise InputError(f"Stage {stage.name} has no artifact {name!r}: was it compiled with another version of moist?")
    for name, port in stage.inputs.items():
        if not inputs.get(name) and not port.optional:
            raise InputError(f"Input {name} is missing: {port.description}.")
        if len(inputs.get(name, [])) > 1 and not port.many:
            raise InputError(f"Input {name} takes one artifact, not {len(inputs[name])}.")
    locations = {name: artifacts[0].uri for name, artifacts in outputs.items() if artifacts}
    output_file = Path(given.outputs.outputFile)
    return Task(
        name=_task_name(stage, output_file, locations),
        settings=parse_settings(stage.settings, settings_values(given.inputs.parameterValues)),
        inputs={name: [_reference(artifact) for artifact in inputs.get(name, [])] for name in stage.inputs},
        outputs=locations,
        output_file=output_file,
        gpus=int(given.inputs.parameterValues.get(GPU_COUNT, 0)),
    )


def _task_name(stage: Stage, output_file: Path, locations: dict[str, str]) -> str:
    """The task's name in its pipeline: a part of paths that kfp makes, differently on a cluster and in kfp.local."""
    on_cluster = (cluster_task_name(location) for location in locations.values())
    return next(filter(None, on_cluster), "") or local_task_name(output_file) or stage.name


def cluster_task_name(location: str) -> str:
    """The task whose output lies at `.../<task>/<uuid>/<output>`, as on a cluster; "" elsewhere, where no UUID is."""
    found = ON_CLUSTER.fullmatch(location)
    return found.group(2) if found else ""


def cluster_run(location: str) -> str:
    """Likewise the URI under which all of that task's run lies."""
    found = ON_CLUSTER.fullmatch(location)
    return found.group(1) if found else ""


def local_task_name(output_file: Path) -> str:
    """The name of a task of kfp.local; a loop's iterations, each with a folder above the task's, get different ones."""
    return iteration_name(output_file.parent.name, _iterations(output_file))


def loops_around(output_file: Path) -> int:
    """In how many loops, one inside the other, a task of kfp.local is."""
    return len(_iterations(output_file))


def _iterations(output_file: Path) -> list[int]:
    return [int(found[1]) for part in output_file.parts if (found := ITERATION.search(part))]


def iteration_name(task: str, iteration: Sequence[int]) -> str:
    """A task's name with its place in the loops around it, outermost first: `train-mixture-0-2`."""
    return "-".join([task, *map(str, iteration)])


def _reference(artifact: _Artifact) -> InputReference:
    digest = artifact.metadata.get("digest")
    return InputReference(artifact.uri, None if digest is None else str(digest))


def settings_values(parameters: dict[str, Any]) -> dict[str, Any]:
    """A task's settings from its Kubeflow parameters.

    Where pipeline parameters size a task, kfp hands them to the task too, under names of its own; they are no settings.
    """
    return {
        name: whole(value)
        for name, value in parameters.items()
        if name not in KFP_PARAMETERS and not name.startswith("pipelinechannel--")
    }


def whole(value: Any) -> Any:
    """Kubeflow's numbers are all doubles; give whole ones back as int."""
    return int(value) if isinstance(value, float) and math.isfinite(value) and value.is_integer() else value


def local_path(location: str) -> Path:
    """The path at which Kubeflow's launcher puts a URI (`s3://b/k` at `/s3/b/k`), or the path itself."""
    if is_uri(location) or location.startswith("gs://"):
        scheme, rest = location.split("://", 1)
        return Path("/", {"gs": "gcs"}.get(scheme, scheme), rest)
    return Path(location)
