"""One component again: a pipeline of only the tasks to rerun, their inputs imported from an earlier run's artifacts."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict
from kfp import components
from pydantic import ValidationError

from moist.errors import DamagedArtifactError, InputError
from moist.runtime.artifacts import MANIFEST, InputRecord, Manifest
from moist.runtime.location import refuse_credentials
from moist.runtime.loops import planned_tasks
from moist.runtime.pipeline_spec import check_arguments, defaults_of, producers_of, stages_of
from moist.runtime.runs import Artifacts, same_name
from moist.runtime.stage import parse_settings
from moist.runtime.store import Store
from moist.runtime.task import settings_values

IMPORTED = "artifact"
"""What kfp calls an importer's output."""


@dataclass(frozen=True)
class Rerun:
    """A pipeline of the tasks to rerun.

    Each of `imports`, by `task/output`, is a text parameter of the pipeline, with the earlier run's URI as default.
    """

    tasks: list[str]
    imports: dict[str, InputRecord]
    yaml: str

    @property
    def pipeline(self) -> Any:
        """kfp's component of it, which runs where it is called."""
        return components.load_component_from_text(self.yaml)


def task_named(pipeline: Any, name: str) -> str:
    """The task of a pipeline that a user means; dashes and underscores are the same.

    Raises:
        InputError: naming the tasks there are.
    """
    tasks = stages_of(pipeline)
    for task in tasks:
        if same_name(task, name):
            return task
    raise InputError(f"There is no task {name!r} to rerun; the earlier run's are {', '.join(sorted(tasks))}.")


def tasks_to_rerun(pipeline: Any, task: str, downstream: bool) -> list[str]:
    """The task, and with `downstream` every task that depends on it."""
    producers, chosen = producers_of(pipeline), [task]
    while downstream:
        more = [name for name, needs in producers.items() if name not in chosen and needs & set(chosen)]
        if not more:
            break
        chosen += more
    return chosen


def changed_settings(
    pipeline: Any, task: str, assignments: list[str], arguments: Mapping[str, Any], changed: Mapping[str, Any]
) -> dict[str, Any]:
    """The values of `name=value` assignments for a task's settings.

    The task's other settings are what `arguments` of the pipeline make them, and what was `changed` of them before.

    Raises:
        InputError: for an assignment that is none, or a setting or value that the stage does not allow.
    """
    stage = stages_of(pipeline)[task]
    before = next(planned.values for planned in planned_tasks(pipeline, arguments) if planned.name == task)
    texts = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {assignment!r} must look like name=value, for example --set batch_size=100.")
        refuse_credentials(text)  # before they are on record
        texts[name.strip().replace("-", "_")] = text.strip()
    checked = parse_settings(stage.settings, {**settings_values(before), **changed, **texts})
    return {name: getattr(checked, name) for name in texts}


def planned_rerun(
    pipeline: Any,
    task: str,
    assignments: list[str],
    *,
    downstream: bool,
    arguments: Mapping[str, Any],
    changed: Mapping[str, Mapping[str, Any]],
    artifacts: Artifacts,
) -> tuple[Rerun, dict[str, Any], dict[str, Mapping[str, Any]]]:
    """A task of an earlier run again with `assignments` (`name=value`), with `downstream` all that depend on it.

    `arguments` are the earlier run's, `changed` the settings by task in which it differed from them itself.

    Returns:
        What to run, its arguments, and `changed` with the new ones.

    Raises:
        InputError: an assignment or what it leads to is not allowed, or the earlier run lacks an artifact.
    """
    before = changed.get(task, {})
    settings = changed_settings(pipeline, task, assignments, arguments, before)
    changes = {**changed, task: {**before, **settings}}
    again = rerun_of(pipeline, tasks_to_rerun(pipeline, task, downstream), changes, artifacts)
    own = {name: arguments.get(name, default) for name, default in defaults_of(again.pipeline).items()}
    check_arguments(again.pipeline, {**arguments, **arguments_changed(pipeline, changes), **own})
    return again, own, changes


def arguments_changed(pipeline: Any, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A pipeline's arguments that settings of its tasks come from, with the values to which these were changed."""
    tasks = pipeline.pipeline_spec.root.dag.tasks
    found = {}
    for task, settings in changes.items():
        given = tasks[task].inputs.parameters
        for name, value in settings.items():
            if name in given and given[name].component_input_parameter:
                found[given[name].component_input_parameter] = value
    return found


def rerun_of(pipeline: Any, tasks: list[str], changes: Mapping[str, Mapping[str, Any]], earlier: Artifacts) -> Rerun:
    """The pipeline that runs only `tasks` of another; `changes` are settings by task that differ from the pipeline's.

    The digest of what is imported travels as metadata, so that the stage checks that it gets just that.

    Raises:
        InputError: if the earlier run lacks an artifact that is needed.
    """
    spec, platform = MessageToDict(pipeline.pipeline_spec), MessageToDict(pipeline.platform_spec)
    every, everything = spec["root"]["dag"]["tasks"], spec["components"]
    kept = {name: every[name] for name in tasks}
    for name, task in kept.items():
        inputs = task.setdefault("inputs", {}).setdefault("parameters", {})
        inputs |= {setting: {"runtimeValue": {"constant": value}} for setting, value in changes.get(name, {}).items()}
    parts = {name: everything[name] for name in (task["componentRef"]["name"] for task in kept.values())}
    executors = {label: spec["deploymentSpec"]["executors"][label] for label in map(_label, parts.values())}
    for kind in platform.get("platforms", {}).values():
        settings = kind["deploymentSpec"]["executors"]
        kind["deploymentSpec"]["executors"] = {label: settings[label] for label in settings if label in executors}
    definitions = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    used = _parameters_in([kept, platform])
    parameters = {name: definitions[name] for name in definitions if name in used}
    importers: dict[str, Any] = {}
    imports: dict[str, InputRecord] = {}
    for given in itertools.chain.from_iterable(map(_taken, kept.values())):
        producer, output = given["producerTask"], given["outputArtifactKey"]
        if producer in tasks:
            continue
        component = everything[every[producer]["componentRef"]["name"]]
        executor = spec["deploymentSpec"]["executors"].get(component.get("executorLabel"), {})
        if "importer" in executor:  # the earlier run was a rerun itself: what it imported, this one does
            importers[producer] = every[producer]
            parts[every[producer]["componentRef"]["name"]], executors[_label(component)] = component, executor
            parameters |= {name: definitions[name] for name in _parameters_in(every[producer])}
            continue
        name, reference = f"import-{producer}-{output}", _reference(earlier, producer, output)
        definition = component["outputDefinitions"]["artifacts"][output]
        imports[f"{producer}/{output}"] = reference
        parameters[_parameter(name)] = {
            "parameterType": "STRING",
            "defaultValue": reference.uri,
            "isOptional": True,
            "description": f"URI of {producer}/{output} of an earlier run",
        }
        importers[name] = _import_task(name)
        parts[f"comp-{name}"], executors[f"exec-{name}"] = _importer(name, definition["artifactType"], reference.digest)
        given["producerTask"], given["outputArtifactKey"] = name, IMPORTED
    for task in kept.values():
        task["cachingOptions"] = {}
        task["dependentTasks"] = sorted({given["producerTask"] for given in _taken(task)})
    spec["root"] = {"dag": {"tasks": {**importers, **kept}}, "inputDefinitions": {"parameters": parameters}}
    spec["components"], spec["deploymentSpec"]["executors"] = parts, executors
    return Rerun(tasks, imports, yaml.safe_dump_all([spec, platform] if platform else [spec]))


def check_imports(store: Store, rerun: Rerun) -> None:
    """See before anything starts that what a rerun takes is still there; the stages check every byte of it.

    Raises:
        DamagedArtifactError: naming the artifact that was deleted or overwritten since the earlier run.
    """
    for name, reference in rerun.imports.items():
        task, again = name.split("/")[0], "rerun the task that makes it"
        if MANIFEST not in store.list(reference.uri):
            raise DamagedArtifactError(
                f"{reference.uri} ({name}) is not in the store at {store.endpoint} any more; rerun {task} first."
            )
        try:
            digest = Manifest.model_validate_json(store.get_bytes(f"{reference.uri}/{MANIFEST}")).digest
        except ValidationError:
            raise DamagedArtifactError(f"{reference.uri}/{MANIFEST} ({name}) is damaged; {again}.") from None
        if digest != reference.digest:
            raise DamagedArtifactError(
                f"{reference.uri} ({name}) has digest {digest}, but the earlier run recorded {reference.digest}: it "
                f"was overwritten since; {again}."
            )


def _label(component: Mapping[str, Any]) -> str:
    return str(component["executorLabel"])


def _taken(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [given["taskOutputArtifact"] for given in task.get("inputs", {}).get("artifacts", {}).values()]


def _parameters_in(part: Any) -> set[str]:
    """The pipeline's parameters that a part of its specification reads: a task's inputs, or where its pods may run."""
    if isinstance(part, Mapping):
        own = {part["componentInputParameter"]} if "componentInputParameter" in part else set()
        return own.union(*map(_parameters_in, part.values()))
    return set().union(*map(_parameters_in, part)) if isinstance(part, list) else set()


def _reference(earlier: Artifacts, producer: str, output: str) -> InputRecord:
    for task, outputs in earlier.items():
        if same_name(task, producer) and output in outputs:
            return outputs[output]
    raise InputError(
        f"The earlier run has no artifact {producer}/{output}, which the rerun needs: that task did not finish. "
        f"Rerun {producer} with --downstream instead, or the whole pipeline."
    )


def _parameter(importer: str) -> str:
    return importer.removeprefix("import-").replace("-", "_") + "_uri"


def _import_task(name: str) -> dict[str, Any]:
    return {
        "cachingOptions": {},
        "componentRef": {"name": f"comp-{name}"},
        "inputs": {"parameters": {"uri": {"componentInputParameter": _parameter(name)}}},
        "taskInfo": {"name": name},
    }


def _importer(name: str, schema: dict[str, Any], digest: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `dsl.importer(artifact_uri=<parameter>, reimport=False, metadata={"digest": ...})` compiles to."""
    component = {
        "executorLabel": f"exec-{name}",
        "inputDefinitions": {"parameters": {"uri": {"parameterType": "STRING"}}},
        "outputDefinitions": {"artifacts": {IMPORTED: {"artifactType": schema}}},
    }
    executor = {
        "importer": {"artifactUri": {"runtimeParameter": "uri"}, "typeSchema": schema, "metadata": {"digest": digest}}
    }
    return component, executor
