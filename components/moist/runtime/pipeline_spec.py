"""What a compiled pipeline says: its parameters and their types, its tasks, and the stage and settings of each."""

import importlib
import json
from collections.abc import Callable
from typing import Any

from google.protobuf.json_format import MessageToDict

from moist.errors import InputError
from moist.runtime.stage import Stage, parse_settings
from moist.runtime.task import settings_values

READERS: dict[str, Callable[[str], Any]] = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "STRING": str,
    "BOOLEAN": lambda text: {"true": True, "false": False}[text.lower()],
    "STRUCT": json.loads,
    "LIST": json.loads,
}
"""How the text of a command line becomes a value of each of Kubeflow's parameter types."""


def parameters_of(pipeline: Any) -> dict[str, Any]:
    """Name, type and default of a pipeline's parameters."""
    definitions = pipeline.pipeline_spec.root.input_definitions.parameters
    return {name: MessageToDict(spec) for name, spec in definitions.items()}


def defaults_of(pipeline: Any) -> dict[str, Any]:
    """The default of each of a pipeline's parameters."""
    return {name: _default(spec) for name, spec in parameters_of(pipeline).items()}


def _default(spec: dict[str, Any]) -> Any:
    value = spec.get("defaultValue")
    return int(value) if spec["parameterType"] == "NUMBER_INTEGER" and value is not None else value


def stages_of(pipeline: Any) -> dict[str, Stage]:
    """The stage that each of a pipeline's tasks runs, by task; importers and the like have none."""
    spec = pipeline.pipeline_spec
    stages = {}
    for name, task in spec.root.dag.tasks.items():
        executor = spec.deployment_spec["executors"][spec.components[task.component_ref.name].executor_label]
        if "container" in executor:
            module = str(executor["container"]["command"][2]).removesuffix(".program")
            stages[name] = importlib.import_module(f"{module}.settings").STAGE
    return stages


def producers_of(pipeline: Any) -> dict[str, set[str]]:
    """The tasks whose outputs each task takes."""
    return {
        name: {given.task_output_artifact.producer_task for given in task.inputs.artifacts.values()}
        for name, task in pipeline.pipeline_spec.root.dag.tasks.items()
    }


def check_arguments(pipeline: Any, arguments: dict[str, Any]) -> None:
    """Validate every task's settings as the stages will, so that no stage runs before a later one's mistake is found.

    Raises:
        InputError: with one sentence for every setting that is not allowed.
    """
    problems: dict[str, None] = {}
    tasks = pipeline.pipeline_spec.root.dag.tasks
    for name, stage in stages_of(pipeline).items():
        values = {}
        for setting, given in tasks[name].inputs.parameters.items():
            if given.component_input_parameter:
                values[setting] = arguments[given.component_input_parameter]
            elif given.HasField("runtime_value"):
                values[setting] = MessageToDict(given.runtime_value.constant)
        try:
            parse_settings(stage.settings, settings_values(values))
        except InputError as error:
            problems[str(error)] = None
    if problems:
        raise InputError("\n".join(problems))
