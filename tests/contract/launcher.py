"""What Kubeflow's v2 launcher does around a container component, replayed from a compiled component."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import ExecutorOutput
from moist.runtime.store import Store


@dataclass
class Launcher:
    """Runs components one after another; artifacts pass through the store, and nothing is prepared for the program."""

    store: Store
    root: str
    """Pipeline root, as `minio://bucket/prefix/pipeline/run`."""
    work: Path
    environment: dict[str, str]

    def run(self, component: Any, inputs: dict[str, Any], parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Run a component; returns its output artifacts as the driver hands them on to later tasks.

        `inputs` are artifacts that an earlier call returned.
        """
        spec = json_format.MessageToDict(component.pipeline_spec)
        name = spec["pipelineInfo"]["name"]
        declared = spec["components"][f"comp-{name}"]
        container = spec["deploymentSpec"]["executors"][f"exec-{name}"]["container"]
        given = declared["inputDefinitions"].get("parameters", {})
        values = {key: entry.get("defaultValue") for key, entry in given.items()} | parameters
        folder = f"{self.root}/{name}/{'0' * 8}-0000-4000-8000-{'0' * 12}"
        output_file = self.work / name / "kfp_outputs" / "output_metadata.json"
        outputs = {key: {"uri": f"{folder}/{key}", "name": key} for key in declared["outputDefinitions"]["artifacts"]}
        executor_input = {
            # Every number is a double to Kubeflow.
            "inputs": {
                "parameterValues": {k: float(v) if type(v) is int else v for k, v in values.items()},
                "artifacts": {key: {"artifacts": [artifact]} for key, artifact in inputs.items()},
            },
            "outputs": {
                "artifacts": {
                    key: {
                        "artifacts": [
                            {**artifact, "type": declared["outputDefinitions"]["artifacts"][key]["artifactType"]}
                        ]
                    }
                    for key, artifact in outputs.items()
                },
                "outputFile": str(output_file),
            },
        }
        for artifact in inputs.values():
            self.store.download(artifact["uri"], _local(artifact["uri"]))
        text = json.dumps(executor_input, separators=(",", ":"))
        command = [part.replace("{{$}}", text) for part in [*container["command"], *container["args"]]]
        command[0] = {"python3": sys.executable}[command[0]]  # the image's python
        subprocess.run(command, check=True, env={**os.environ, **self.environment}, cwd=self.work)
        return self._collect(output_file, outputs)

    def _collect(self, output_file: Path, outputs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
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
            self.store.upload(_local(artifact["uri"]), artifact["uri"])
            found[name] = {**artifact, "metadata": json_format.MessageToDict(one.metadata)}
        return found


def _local(uri: str) -> Path:
    scheme, rest = uri.split("://", 1)
    return Path("/", scheme, rest)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in the executor output")
