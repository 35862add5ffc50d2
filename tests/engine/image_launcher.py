"""Runs every component of a compiled pipeline as Kubeflow's driver and launcher do, in its real images."""

import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from launcher import Artifacts, bring, collect, prepare
from moist.runtime.artifacts import describe
from moist.runtime.store import Store

USER = 65532 if os.getuid() == 0 else os.getuid()
GROUP = 65532 if os.getuid() == 0 else os.getgid()


@dataclass
class ImageLauncher:
    """Runs a compiled pipeline's tasks one after another; artifacts pass through the store, whose keys no task gets."""

    engine: Any
    store: Store
    spec: dict[str, Any]
    root: str
    """Pipeline root, as `minio://bucket/prefix/pipeline/run`."""
    work: Path

    def tasks(self) -> Iterator[str]:
        """Every task, after those that it depends on."""
        waiting = dict(self.spec["root"]["dag"]["tasks"])
        while waiting:
            for name in [n for n, task in waiting.items() if not waiting.keys() & set(task.get("dependentTasks", []))]:
                yield name
                del waiting[name]

    def inputs(self, name: str, arguments: dict[str, Any], produced: dict[str, Artifacts]) -> tuple[Any, Artifacts]:
        """A task's parameters and input artifacts, as the driver resolves them."""
        task = self.spec["root"]["dag"]["tasks"][name]
        declared = self._component(name).get("inputDefinitions", {})
        defaults = {key: entry.get("defaultValue") for key, entry in declared.get("parameters", {}).items()}
        root = {key: e.get("defaultValue") for key, e in self.spec["root"]["inputDefinitions"]["parameters"].items()}
        values = dict(defaults)
        for key, given in task["inputs"].get("parameters", {}).items():
            if "componentInputParameter" in given:
                values[key] = {**root, **arguments}[given["componentInputParameter"]]
            else:
                values[key] = given["runtimeValue"]["constant"]
        for key, value in values.items():
            if isinstance(value, str):
                values[key] = re.sub(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}", lambda m: str(values[m[1]]), value)
        wanted = {key: given["taskOutputArtifact"] for key, given in task["inputs"].get("artifacts", {}).items()}
        found = {key: produced[where["producerTask"]][where["outputArtifactKey"]] for key, where in wanted.items()}
        return values, found

    def run(self, name: str, values: dict[str, Any], inputs: Artifacts) -> tuple[int, str, Artifacts]:
        """Run a task; returns its exit code, what it said, and its outputs as the driver hands them on."""
        component = self._component(name)
        folder = f"{self.root}/{name}/{uuid.uuid4()}"
        launch = prepare(self.spec, component, values, inputs, folder)
        volume, temporary = self.work / name / "minio", self.work / name / "tmp"
        for mounted in (volume, temporary):
            mounted.mkdir(parents=True)
        place = partial(_local, volume)
        bring(self.store, inputs, place)
        before = {key: describe(place(artifact)) for key, artifact in inputs.items()}
        for path in (volume, temporary, *volume.rglob("*")):
            os.chown(path, USER, GROUP)
        code, said = self._execute(launch.image, launch.command, {volume: "/minio", temporary: "/tmp"})
        if {key: describe(place(artifact)) for key, artifact in inputs.items()} != before:
            raise AssertionError(f"{name} changed its inputs")
        if code != 0:
            return code, said, {}
        output_file = volume / Path(launch.output_file).relative_to("/minio")
        return code, said, collect(self.store, launch.outputs, output_file, place)

    def _component(self, task: str) -> dict[str, Any]:
        return dict(self.spec["components"][self.spec["root"]["dag"]["tasks"][task]["componentRef"]["name"]])

    def _execute(self, image: str, command: list[str], volumes: dict[Path, str]) -> tuple[int, str]:
        """As a pod under the restricted standard: no shell, no ENTRYPOINT, and here no network at all."""
        container = self.engine.containers.create(
            image,
            entrypoint=command,
            volumes={str(path): {"bind": bind, "mode": "rw,z"} for path, bind in volumes.items()},
            user=f"{USER}:{GROUP}",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            network_mode="none",
            shm_size="1g",
        )
        try:
            container.start()
            code = int(container.wait(timeout=240)["StatusCode"])
            return code, container.logs().decode()
        finally:
            container.remove(force=True, v=True)


def _local(volume: Path, artifact: dict[str, Any]) -> Path:
    return volume / artifact["uri"].removeprefix("minio://")
