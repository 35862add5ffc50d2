"""What a compiled pipeline says: its parameters and their types, its tasks, and the stage and settings of each."""

import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict

from moist.data.sources import KINDS, check_source
from moist.errors import InputError
from moist.mode.results import offered
from moist.mode.tables import OPENML_IDS
from moist.runtime.common_settings import numbers
from moist.runtime.location import is_uri, refuse_credentials
from moist.runtime.loops import Planned, planned_tasks
from moist.runtime.scheduling import check_resources
from moist.runtime.stage import Stage, parse_settings
from moist.runtime.task import settings_values, whole

READERS: dict[str, Callable[[str], Any]] = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "STRING": str,
    "BOOLEAN": lambda text: {"true": True, "false": False}[text.lower()],
    "STRUCT": json.loads,
    "LIST": json.loads,
}
"""How the text of a command line becomes a value of each of Kubeflow's parameter types."""


JSON_KINDS = {"STRUCT": (dict, "a JSON object"), "LIST": (list, "a list")}


def parameters_of(pipeline: Any) -> dict[str, Any]:
    """Name, type and default of a pipeline's parameters."""
    definitions = pipeline.pipeline_spec.root.input_definitions.parameters
    return {name: MessageToDict(spec) for name, spec in sorted(definitions.items())}


def defaults_of(pipeline: Any) -> dict[str, Any]:
    """The default of each of a pipeline's parameters."""
    return {name: _default(spec) for name, spec in parameters_of(pipeline).items()}


def _default(spec: dict[str, Any]) -> Any:
    value = spec.get("defaultValue")
    if spec["parameterType"] == "LIST" and value is not None:
        return [whole(item) for item in value]
    return int(value) if spec["parameterType"] == "NUMBER_INTEGER" and value is not None else value


def dags_of(pipeline: Any) -> list[Any]:
    """A pipeline's graph, and those of its loops, which are components."""
    spec = pipeline.pipeline_spec
    return [spec.root.dag, *(component.dag for component in spec.components.values() if component.HasField("dag"))]


def stages_of(pipeline: Any) -> dict[str, Stage]:
    """The stage that each of a pipeline's tasks runs, by task; importers, loops and the like have none."""
    tasks = pipeline.pipeline_spec.root.dag.tasks
    stages = {name: _stage_of(pipeline, task.component_ref.name) for name, task in tasks.items()}
    return {name: stage for name, stage in stages.items() if stage is not None}


def _stage_of(pipeline: Any, component: str) -> Stage | None:
    spec = pipeline.pipeline_spec
    label = spec.components[component].executor_label
    executor = spec.deployment_spec["executors"][label] if label else {}
    if "container" not in executor:
        return None
    return stage_of(executor["container"]["command"])


def stage_of(command: Sequence[str]) -> Stage:
    """The stage that a component's command runs: `python3 -m moist.stages.<stage>.program`."""
    stage: Stage = importlib.import_module(f"{command[2].removesuffix('.program')}.settings").STAGE
    return stage


def producers_of(pipeline: Any) -> dict[str, set[str]]:
    """The tasks whose outputs each task takes."""
    return {
        name: {given.task_output_artifact.producer_task for given in task.inputs.artifacts.values()}
        for name, task in pipeline.pipeline_spec.root.dag.tasks.items()
    }


def _planned_stages(pipeline: Any, arguments: Mapping[str, Any]) -> Iterator[tuple[Stage, Planned]]:
    """Every task of a stage that a pipeline runs when called with these arguments, and its stage."""
    for task in planned_tasks(pipeline, arguments):
        stage = _stage_of(pipeline, task.component)
        if stage is not None:
            yield stage, task


DECIDED_BY = {
    "k": "comp-cluster-logits",
    "validation_fraction": "comp-prepare-data",
    "router_answers": "comp-train-jointly",
}
"""Settings that another stage's need, and the task that has them."""


def _as_run(planned: Sequence[Planned], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, but for what the tasks themselves say otherwise: in a rerun a changed setting is theirs alone."""
    own = {task.component: task.values for task in planned}
    return {**arguments, **{name: own[by][name] for name, by in DECIDED_BY.items() if name in own.get(by, {})}}


def _check_together(stage: Stage, task: Planned, arguments: Mapping[str, Any]) -> None:
    """What no stage sees before the teacher is trained: settings of one that need a setting of another.

    Of a rerun on a cluster, an argument that none of its tasks takes may be unknown.
    """
    name, value, router_answers = stage.name, task.values.get, bool(arguments.get("router_answers"))
    if name == "prepare_data":
        check_source(value("name", "digits"), value("source", "bundled"))
    if name == "train_jointly" and value("second_share") and arguments.get("validation_fraction") == 0:
        raise InputError(
            f"Setting second_share={value('second_share')} is not allowed: it needs validation images, and "
            "validation_fraction is 0."
        )
    if (
        name == "cluster_logits"
        and value("k") == 1
        and not (router_answers and task.component == "comp-cluster-logits")
    ):
        raise InputError("Setting k=1 is not allowed: must be 0, or at least 2, unless with --router-answers true.")
    known, k = KINDS.get(str(arguments.get("dataset"))), value("k")
    if name == "cluster_logits" and known and isinstance(k, int | float) and k > known.classes:
        raise InputError(f"Setting k={k:g} is not allowed: {arguments['dataset']} has {known.classes} classes.")
    if name == "train_jointly" and value("second_mirrored") and arguments.get("k", 1) != 1:
        raise InputError(
            "Setting second_mirrored=true is not allowed: it is for a single student: give --k 1, or "
            "--second-mirrored false."
        )
    if name == "train_jointly" and value("second_mirrored") and known and not known.flip:
        raise InputError(
            f"Setting second_mirrored=true is not allowed: training does not mirror {arguments['dataset']}."
        )
    if name == "train_mixture" and value("model") != "single":
        _check_alphas(str(value("model")), str(value("alphas")), str(arguments.get("candidates")))
    if name == "pretrain_router" and value("architecture") != "class" and router_answers:
        raise InputError("Setting router_answers=true is not allowed: it needs --router class, which knows classes.")


def _check_alphas(model: str, alphas: str, candidates: str) -> None:
    trained = numbers(alphas)
    try:
        among = numbers(candidates)
    except ValueError:
        return  # the comparing stage's own check says so
    if 0 not in trained or not offered(trained, among):
        raise InputError(
            f"Setting alphas={alphas!r} of {model} is not allowed: it needs 0, the plain mixture, and one of the "
            f"candidates ({candidates})."
        )


SOURCES = {
    "prepare_data": ("source",),
    "prepare_table": ("source",),
    "train_translator": tuple(
        f"{part}{side}" for part in ("", "validation_", "test_") for side in ("source", "target")
    ),
}
"""The settings of a stage that name data."""

BUNDLED = {"prepare_data": "bundled", "prepare_table": "digits"}
"""What needs no source besides the image."""


def check_sources(pipeline: Any, arguments: Mapping[str, Any], network: bool) -> None:
    """Raises InputError where a task in a container would not find its data.

    It sees no file of this machine, downloads no images, for which the slim image has no program, and without `network`
    no table of OpenML either.
    """
    for stage, task in _planned_stages(pipeline, arguments):
        for name in SOURCES.get(stage.name, ()):
            source = str(task.values.get(name) or "")
            openml = stage.name == "prepare_table" and (source in OPENML_IDS or source.isdecimal())
            if not source or is_uri(source) or source == BUNDLED.get(stage.name) or (openml and network):
                continue
            if openml:
                what, why = f"{name}={source}, a table of OpenML,", "cannot download it"
            elif stage.name == "prepare_data" and source == "download":
                what, why = f"{name}={source} of {task.values.get('name')}", "cannot download it"
            else:
                what, why = f"{name}={source!r}", "see no files of this machine"
            raise InputError(
                f"Setting {what} is not allowed in containers, which {why}: put it into the store, and give its s3:// "
                "address."
            )


def _texts(value: Any) -> Iterator[str]:
    """Every string in a value, whatever lists and structures it is in."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


def check_arguments(pipeline: Any, arguments: dict[str, Any]) -> None:
    """Validate every task's settings as the stages will, so that no stage runs before a later one's mistake is found.

    Raises:
        InputError: with one sentence for every setting that is not allowed.
    """
    for text in _texts(arguments):
        refuse_credentials(text)  # before they are on record
    for name, spec in parameters_of(pipeline).items():
        kind, what = JSON_KINDS.get(spec["parameterType"], (object, ""))
        if name in arguments and not isinstance(arguments[name], kind):
            raise InputError(f"{name} must be {what}, not {json.dumps(arguments[name])}.")
    check_resources(arguments)
    problems: dict[str, None] = {}
    planned = list(_planned_stages(pipeline, arguments))
    as_run = _as_run([task for _, task in planned], arguments)
    for stage, task in planned:
        try:
            parse_settings(stage.settings, settings_values(task.values))
            _check_together(stage, task, as_run)
        except InputError as error:
            problems[str(error)] = None
    if problems:
        raise InputError("\n".join(problems))
