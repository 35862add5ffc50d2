"""What Kubeflow's driver and v2 launcher do around a container component, wherever the program itself then runs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import ExecutorOutput
from moist.runtime.store import Store

Artifacts = dict[str, dict[str, Any]]
Inputs = Mapping[str, dict[str, Any] | list[dict[str, Any]]]
"""One artifact, or what a loop's iterations made."""

Place = Callable[[dict[str, Any]], Path]
"""Where the launcher puts an artifact."""


@dataclass(frozen=True)
class Launch:
    """One task, ready to be run: `python3` still stands for the image's."""

    image: str
    command: list[str]
    outputs: Artifacts
    output_file: str
    """Where the launcher looks for the executor output."""


def prepare(spec: dict[str, Any], component: dict[str, Any], values: Any, inputs: Inputs, folder: str) -> Launch:
    """Substitute `{{$}}` in a component of a compiled pipeline's spec; outputs get URIs under `folder`.

    As the driver of Kubeflow Pipelines 2.17.0 has it (provisionOutputs in backend/src/v2/driver/driver.go): it adds an
    output of its own for the launcher's log, and puts the executor output beside the artifacts.
    """
    container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    outputs = {
        key: {"name": key, "uri": f"{folder}/{key}", "type": entry["artifactType"]}
        for key, entry in component["outputDefinitions"]["artifacts"].items()
    }
    logs = {"name": "executor-logs", "uri": f"{folder}/executor-logs-0", "type": {"schemaTitle": "system.Artifact"}}
    output_file = f"/{folder.replace('://', '/')}/output_metadata.json"
    executor_input = {
        # Every number is a double to Kubeflow.
        "inputs": {
            "parameterValues": {k: float(v) if type(v) is int else v for k, v in values.items()},
            "artifacts": {key: {"artifacts": as_list(given)} for key, given in inputs.items()},
        },
        "outputs": {
            "artifacts": {
                key: {"artifacts": [artifact]} for key, artifact in {**outputs, "executor-logs": logs}.items()
            },
            "outputFile": output_file,
        },
    }
    text = json.dumps(executor_input, separators=(",", ":"))
    command = [part.replace("{{$}}", text) for part in [*container["command"], *container["args"]]]
    return Launch(container["image"], command, outputs, output_file)


def as_list(given: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The artifacts of an input."""
    return given if isinstance(given, list) else [given]


def bring(store: Store, inputs: Inputs, place: Place) -> None:
    """Download inputs; to the launcher a prefix under which nothing lies is no error."""
    for artifact in (artifact for given in inputs.values() for artifact in as_list(given)):
        if store.list(artifact["uri"]):
            store.download(artifact["uri"], place(artifact))


def collect(store: Store, outputs: Artifacts, output_file: Path, place: Place) -> Artifacts:
    """Parse the executor output as strictly as the launcher, merge it into the artifacts, upload those."""
    text = output_file.read_text("utf-8")
    json.loads(text, parse_constant=_refuse)
    parsed = json_format.Parse(text, ExecutorOutput(), ignore_unknown_fields=False)
    reported = {name: list(entry.artifacts) for name, entry in parsed.artifacts.items()}
    if set(reported) != set(outputs):
        raise AssertionError(f"reported {sorted(reported)}, declared {sorted(outputs)}")
    found = {}
    for name, artifact in outputs.items():
        (one,) = reported[name]
        if one.uri != artifact["uri"]:
            raise AssertionError(f"{name}: URI {one.uri}, not {artifact['uri']}")
        if any(value.HasField("null_value") for value in one.metadata.fields.values()):
            raise AssertionError(f"{name}: null in the metadata")
        store.upload(place(artifact), artifact["uri"])
        found[name] = {**artifact, "metadata": json_format.MessageToDict(one.metadata)}
    return found


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in the executor output")
