"""Runs components as Kubeflow's launcher does, as processes of this machine."""

import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from launcher import Artifacts, Inputs, Launch, bring, collect, prepare
from moist.runtime.store import Store


@dataclass
class HostLauncher:
    """Runs components one after another; artifacts pass through the store, and nothing is prepared for the program."""

    store: Store
    root: str
    """Pipeline root, as `minio://bucket/prefix/pipeline/run`."""
    work: Path
    environment: dict[str, str]

    def run(self, component: Any, inputs: Inputs, parameters: dict[str, Any]) -> tuple[Artifacts, str]:
        """Run a component; returns its output artifacts as the driver hands them on to later tasks, and what it said.

        `inputs` are artifacts that earlier calls returned.
        """
        launch, process = self.start(component, inputs, parameters)
        said = process.communicate()[1]
        if process.returncode != 0:
            raise AssertionError(said)
        return collect(self.store, launch.outputs, Path(launch.output_file), _local), said

    def start(
        self, component: Any, inputs: Inputs, parameters: dict[str, Any]
    ) -> tuple[Launch, "subprocess.Popen[str]"]:
        """As far as the program's start; each time its outputs have other places, as those of each pod have."""
        spec = json_format.MessageToDict(component.pipeline_spec)
        name = spec["pipelineInfo"]["name"]
        declared = spec["components"][f"comp-{name}"]
        taken = declared["inputDefinitions"].get("parameters", {})
        values = {k: entry.get("defaultValue") for k, entry in taken.items()}
        folder = f"{self.root}/{name}/{uuid.uuid4()}"
        launch = prepare(spec, declared, values | parameters, inputs, folder)
        bring(self.store, inputs, _local)
        command = [{"python3": sys.executable}[launch.command[0]], *launch.command[1:]]  # the image's python
        environment = {**os.environ, **self.environment}
        return launch, subprocess.Popen(command, env=environment, cwd=self.work, stderr=subprocess.PIPE, text=True)


def _local(artifact: dict[str, Any]) -> Path:
    scheme, rest = artifact["uri"].split("://", 1)
    return Path("/", scheme, rest)
