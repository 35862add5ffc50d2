"""The stage contract: what happens around every stage's function, on a cluster, in the local runner, and by hand.

Read the task; bring its inputs here and check them; run the function on staged outputs; stamp each output with where it
came from; give all outputs their final names at once; tell Kubeflow about them.
"""

import contextlib
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from moist.errors import DamagedArtifactError, InputError, MoistError
from moist.runtime import provenance
from moist.runtime.artifacts import (
    MANIFEST,
    InputRecord,
    Manifest,
    describe,
    digest_of,
    full_disk_is_an_error,
    publish,
    verify,
    write_json,
)
from moist.runtime.stage import Port, Stage
from moist.runtime.store import Store, is_uri, store_is_configured
from moist.runtime.task import InputReference, Task, local_path, parse_task

Metadata = dict[str, dict[str, Any]]
Function = Callable[..., Metadata]

OUTPUT_ROOT = "MOIST_OUTPUT_ROOT"
"""Environment variable: a URI under which outputs are uploaded when no launcher does it (set by the local runner)."""


def main(stage: Stage, function: Function, argv: Sequence[str] | None = None) -> NoReturn:
    """Run a stage as a program and exit with 0, or with the exit code of the error's kind after one sentence."""
    try:
        execute(parse_task(stage, sys.argv[1:] if argv is None else argv), stage, function)
    except MoistError as error:
        sys.stderr.write(f"{stage.name}: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write(f"{stage.name}: interrupted; no output was written.\n")
        sys.exit(130)
    sys.exit(0)


def execute(task: Task, stage: Stage, function: Function) -> None:
    """Run one task of a stage.

    Raises:
        MoistError: of the kind that says what went wrong; then no output has its final name.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    _check_outputs(task, stage)
    on_cluster = task.executor_input is not None
    with _workspace() as workspace, full_disk_is_an_error(workspace):
        inputs: dict[str, Any] = {}
        records: dict[str, InputRecord | list[InputRecord]] = {}
        for name, port in stage.inputs.items():
            brought = [
                _bring(ref, name, port, workspace / f"in-{name}-{i}", on_cluster)
                for i, ref in enumerate(task.inputs[name])
            ]
            paths, found = [path for path, _ in brought], [record for _, record in brought]
            if port.many:
                inputs[name], records[name] = paths, found
            elif brought:
                inputs[name], records[name] = paths[0], found[0]
            else:
                inputs[name] = None
        staged = {name: workspace / "out" / name for name in stage.outputs}
        (workspace / "out").mkdir()
        metadata = function(task.settings, **inputs, **staged)
        facts = {
            "stage": stage.name,
            "task": task.name,
            "code_version": provenance.code_version(),
            "settings": task.settings.model_dump(),
            "inputs": records,
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            **_torch_facts(),
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - clock, 3),
        }
        manifests = _stamp(stage, staged, facts)
        locations = _publish(task, stage, staged)
    if task.executor_input is not None:
        _write_executor_output(task, stage, manifests, locations, metadata)


def _check_outputs(task: Task, stage: Stage) -> None:
    missing = [name for name in stage.outputs if name not in task.outputs]
    if missing:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise InputError(f"{flags} missing: say where to write each output (a path or an s3:// URI).")


@contextlib.contextmanager
def _workspace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="moist-") as folder:
        yield Path(folder)


def _bring(
    reference: InputReference, name: str, port: Port, target: Path, on_cluster: bool
) -> tuple[Path, InputRecord]:
    """The input as a verified folder: where the launcher put it, where it lies, or fetched from the store."""
    path = local_path(reference.location)
    if is_uri(reference.location) and not path.exists() and (not on_cluster or store_is_configured()):
        Store.from_environment().download(reference.location, target)
        path = target
    if not path.is_dir():
        raise DamagedArtifactError(
            f"Input {name}: {reference.location} is not there; run the stage that makes it, or correct the path."
        )
    manifest = verify(path, name, kind=port.kind, expected_digest=reference.digest)
    return path, InputRecord(uri=reference.location, digest=manifest.digest)


def _torch_facts() -> dict[str, Any]:
    """The device and thread count a training stage used; asked only if it loaded torch."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {"device": "cpu", "threads": 1}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": device, "threads": torch.get_num_threads()}


def _stamp(stage: Stage, staged: dict[str, Path], facts: dict[str, Any]) -> dict[str, Manifest]:
    """Write each output's manifest into it; it names all outputs, so a single-file one is traced by its siblings."""
    manifests: dict[str, Manifest] = {}
    files = {name: describe(path) for name, path in staged.items()}
    for name, found in files.items():
        if not found:
            raise MoistError(f"Stage {stage.name} wrote nothing for its output {name}; this is an error in the stage.")
    outputs = {name: digest_of(found) for name, found in files.items()}
    for name, path in staged.items():
        manifests[name] = Manifest(
            kind=stage.outputs[name].kind, name=name, digest=outputs[name], files=files[name], outputs=outputs, **facts
        )
        if path.is_dir():
            write_json(path / MANIFEST, manifests[name].model_dump())
    return manifests


def _publish(task: Task, stage: Stage, staged: dict[str, Path]) -> dict[str, str]:
    """Move or upload every output to where it belongs; returns where each can be found."""
    root = os.environ.get(OUTPUT_ROOT)
    locations = {}
    for name, path in staged.items():
        location = task.outputs[name]
        if root and not is_uri(location):
            location = f"{root.rstrip('/')}/{task.name}/{name}"
        final = local_path(location)
        if is_uri(location) and (root or task.executor_input is None):
            Store.from_environment().upload(path, location)
        else:
            final.parent.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{final.name}.partial-", dir=final.parent))
            try:
                with full_disk_is_an_error(final):
                    shutil.move(path, beside / "new")
                publish(beside / "new", final)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        locations[name] = location
    return locations


def _write_executor_output(
    task: Task, stage: Stage, manifests: dict[str, Manifest], locations: dict[str, str], metadata: Metadata
) -> None:
    """Tell Kubeflow what was made; the metadata is what its UI shows."""
    artifacts = {}
    for name, manifest in manifests.items():
        facts = {
            "digest": manifest.digest,
            "kind": manifest.kind,
            "code_version": manifest.code_version,
            **_clean(metadata.get(name, {})),
        }
        artifacts[name] = {"artifacts": [{"name": name, "uri": locations[name], "metadata": facts}]}
    if task.output_file is not None:
        write_json(task.output_file, {"artifacts": artifacts})


def _clean(metadata: dict[str, Any]) -> dict[str, Any]:
    """Without the values at which Kubeflow fails the task: None, NaN and the infinities."""
    return {
        key: value
        for key, value in metadata.items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }
