"""The stage contract: what happens around every stage's function, on a cluster, in the local runner, and by hand.

Read the task; bring its inputs here and check them; run the function on staged outputs; stamp each output with where it
came from; give all outputs their final names at once; tell Kubeflow about them.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from moist.errors import DamagedArtifactError, InputError, MoistError
from moist.runtime import cores, processes, provenance
from moist.runtime.artifacts import (
    MANIFEST,
    InputRecord,
    Manifest,
    check_free,
    describe,
    digest_of,
    full_disk_is_an_error,
    publish,
    verify,
    write_json,
)
from moist.runtime.location import is_uri
from moist.runtime.stage import Port, Stage
from moist.runtime.store import Store, store_is_configured
from moist.runtime.task import InputReference, Task, cluster_run, local_path, parse_task

Metadata = dict[str, dict[str, Any]]
Function = Callable[..., Metadata]
Records = dict[str, InputRecord | list[InputRecord]]

OUTPUT_ROOT = "MOIST_OUTPUT_ROOT"
"""Environment variable: a URI under which outputs are uploaded when no launcher does it (set by the local runner)."""

CHECKPOINTS = "MOIST_CHECKPOINTS"
"""Environment variable: a folder or s3:// URI under which training stages keep checkpoints; none are kept without."""


@dataclass(frozen=True)
class Running:
    """The task that this process runs, for what happens inside a stage's function."""

    identity: str
    """Digest of what the outputs depend on: stage, versions, settings, inputs. The same for a task that is retried."""
    inputs: Records = field(default_factory=dict)
    """Where each input came from, and its digest."""
    run: str = ""
    """On a cluster, under which URI the run's artifacts lie: what else tells it from others."""
    after_success: list[Callable[[], None]] = field(default_factory=list)
    """Called once all outputs are where they belong; not where Kubeflow's launcher has yet to upload them."""


RUNNING: ContextVar[Running | None] = ContextVar("moist_running", default=None)


class Terminated(BaseException):
    """The process was asked to end (SIGTERM), as when a pod is preempted."""


def main(stage: Stage, function: Function, argv: Sequence[str] | None = None) -> NoReturn:
    """Run a stage as a program and exit with 0, or with the exit code of the error's kind after one sentence."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        execute(parse_task(stage, sys.argv[1:] if argv is None else argv), stage, function)
    except MoistError as error:
        _end(stage, str(error), error.exit_code)
    except KeyboardInterrupt:
        _end(stage, "interrupted; no output was written.", 130)
    except Terminated:
        _end(stage, "terminated; no output was written. A retry goes on from the last checkpoint, if one is kept.", 143)
    sys.exit(0)


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def _end(stage: Stage, sentence: str, exit_code: int) -> NoReturn:
    sys.stderr.write(f"{stage.name}: {sentence}\n")
    sys.exit(exit_code)


def execute(task: Task, stage: Stage, function: Function) -> None:
    """Run one task of a stage.

    Raises:
        MoistError: of the kind that says what went wrong; then no output has its final name, but for a store that fails
            between two of several uploads.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    cores.keep_to_the_limit()
    locations = _locations(task, stage)
    run = next(filter(None, map(cluster_run, locations.values())), "")
    if run and task.gpus:
        _check_gpus(stage, task.gpus)
    with _workspace() as workspace, full_disk_is_an_error(workspace):
        inputs, records = _bring_all(task, stage, workspace)
        staged = {name: workspace / "out" / name for name in stage.outputs}
        (workspace / "out").mkdir()
        running = Running(_identity(stage, task, records), records, run)
        token = RUNNING.set(running)
        try:
            count, began = processes.wanted(stage), time.monotonic()
            if count == 1:
                metadata = function(task.settings, **inputs, **staged)
            else:
                metadata = processes.run(function, task.settings, inputs, staged, running, count)
            compute_seconds = round(time.monotonic() - began, 3)
        finally:
            RUNNING.reset(token)
        facts = {
            "stage": stage.name,
            "task": task.name,
            "code_version": provenance.code_version(),
            "settings": task.settings.model_dump(),
            "inputs": records,
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            **_torch_facts(count),
            "started": started.isoformat(timespec="milliseconds"),
            "seconds": round(time.monotonic() - clock, 3),
            "compute_seconds": compute_seconds,
        }
        manifests = _stamp(stage, staged, facts)
        _publish(staged, locations, task)
    if task.output_file is not None:
        _write_executor_output(task.output_file, manifests, locations, metadata)
    # A pod that is lost while the launcher uploads is tried again: until then its checkpoints are all there is.
    if task.output_file is None or all(_is_uploaded(location, task) for location in locations.values()):
        for finish in running.after_success:
            finish()


def _check_gpus(stage: Stage, count: int) -> None:
    """Say on which GPU a task runs that was given some.

    Raises:
        InputError: PyTorch cannot use them, and would train on the CPU for hours while they idle.
    """
    import torch

    if not torch.cuda.is_available():
        raise InputError(
            f"This task was given {count} GPU(s), but PyTorch can use none: see to the node's driver and container "
            "runtime (the job gpu-check in k8s/overlays/gpu), or run on the CPU, with --gpus 0."
        )
    sys.stderr.write(f"{stage.name}: on {torch.cuda.get_device_name()}\n")


def _locations(task: Task, stage: Stage) -> dict[str, str]:
    """Where each output goes; checked before any work is done.

    Raises:
        InputError: for an output without a place, one that cannot be written, or one inside another artifact.
    """
    missing = [name for name in stage.outputs if name not in task.outputs]
    if missing:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise InputError(f"{flags} missing: say where to write each output (a path or an s3:// URI).")
    root = os.environ.get(OUTPUT_ROOT)
    locations = {}
    for name in stage.outputs:
        location = task.outputs[name]
        if root and not is_uri(location):
            location = f"{root.rstrip('/')}/{task.name}/{name}"
        locations[name] = location
        _check_place(name, location, stage.outputs[name].is_file, _is_uploaded(location, task))
    inputs = {ref.location: name for name, references in task.inputs.items() for ref in references}
    taken = {_plain(location): f"input {name}" for location, name in inputs.items()}
    for name, location in locations.items():
        for other, what in taken.items():
            if _plain(location).is_relative_to(other) or other.is_relative_to(_plain(location)):
                raise InputError(f"Output {name} at {location} would overwrite {what} or mix with it; choose another.")
        taken[_plain(location)] = f"output {name}"
    return locations


def _check_place(name: str, location: str, is_file: bool, uploaded: bool) -> None:
    """Whether an output can be written there, and nothing is lost by it."""
    final = local_path(location)
    if not uploaded:
        with _writing(name, location):
            final.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=final.parent):
                pass
    try:
        if uploaded:
            Store.from_environment().check_free(location, is_file)
        else:
            check_free(final, is_file)
    except InputError as error:
        raise InputError(f"Output {name}: {error}") from None


def _plain(location: str) -> Path:
    return Path(os.path.abspath(local_path(location)))  # noqa: PTH100 - absolute() keeps `..`


def _is_uploaded(location: str, task: Task) -> bool:
    """Whether nobody else uploads this output: on a cluster, Kubeflow's launcher does."""
    return is_uri(location) and (bool(os.environ.get(OUTPUT_ROOT)) or task.output_file is None)


@contextlib.contextmanager
def _writing(name: str, location: str) -> Iterator[None]:
    """Turn what the system says about a place for an output into a sentence."""
    try:
        with full_disk_is_an_error(Path(location)):
            yield
    except OSError as error:
        raise InputError(f"Output {name} cannot be written to {location}: {error.strerror or error}.") from None


@contextlib.contextmanager
def _workspace() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="moist-")
    except OSError as error:
        raise InputError(
            f"No folder to work in ({error}): make room, or point TMPDIR to one that is writable."
        ) from None
    with folder as name:
        yield Path(name)


def _bring_all(task: Task, stage: Stage, workspace: Path) -> tuple[dict[str, Any], Records]:
    """The function's inputs, and for the record where each came from."""
    inputs: dict[str, Any] = {}
    records: Records = {}
    for name, port in stage.inputs.items():
        brought = [
            _bring(ref, name, port, workspace / f"in-{name}-{i}", task.output_file is not None)
            for i, ref in enumerate(task.inputs[name])
        ]
        paths, found = [path for path, _ in brought], [record for _, record in brought]
        inputs[name] = paths if port.many else next(iter(paths), None)
        if brought:
            records[name] = found if port.many else found[0]
    return inputs, records


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


def _identity(stage: Stage, task: Task, records: Records) -> str:
    digests = {
        name: [record.digest for record in (found if isinstance(found, list) else [found])]
        for name, found in records.items()
    }
    # How often a checkpoint is written does not change what comes out.
    settings = {name: value for name, value in task.settings.model_dump().items() if name != "checkpoint_seconds"}
    facts = [stage.name, provenance.versions(), settings, digests]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _torch_facts(count: int) -> dict[str, Any]:
    """The device and thread count a training stage used; asked only if it loaded torch."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {"device": "cpu", "threads": 1}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": device if count == 1 else f"{count} x {device}", "threads": torch.get_num_threads()}


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
            write_json(path / MANIFEST, manifests[name].sealed().model_dump())
    return manifests


def _publish(staged: dict[str, Path], locations: dict[str, str], task: Task) -> None:
    """Move or upload every output to where it belongs: all that can fail first, then the final names at once."""
    with contextlib.ExitStack() as stack:
        ready = []
        for name, path in staged.items():
            if not _is_uploaded(locations[name], task):
                final = local_path(locations[name])
                with _writing(name, locations[name]):
                    ready.append((name, stack.enter_context(_beside(path, final)), final))
        for name, path in staged.items():
            if _is_uploaded(locations[name], task):
                Store.from_environment().upload(path, locations[name])
        with _undisturbed():
            for name, new, final in ready:
                with _writing(name, locations[name]):
                    publish(new, final)


@contextlib.contextmanager
def _beside(path: Path, final: Path) -> Iterator[Path]:
    """A finished output on the file system where it belongs, under a hidden name, until it gets its own."""
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{final.name}.partial-", dir=final.parent))
    try:
        shutil.move(path, folder / "new")
        yield folder / "new"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back for the moment in which the outputs get their names.

    Not by a signal mask: it would be this thread's, and another thread would take the signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda got, _: arrived.append(got)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        for got in arrived[:1]:
            signal.raise_signal(got)


def _write_executor_output(
    output_file: Path, manifests: dict[str, Manifest], locations: dict[str, str], metadata: Metadata
) -> None:
    """Tell Kubeflow what was made; the metadata is what its UI shows."""
    artifacts = {}
    for name, manifest in manifests.items():
        facts = {
            **_clean(metadata.get(name, {})),
            "digest": manifest.digest,
            "kind": manifest.kind,
            "code_version": manifest.code_version,
        }
        artifacts[name] = {"artifacts": [{"name": name, "uri": locations[name], "metadata": facts}]}
    write_json(output_file, {"artifacts": artifacts})


def _clean(metadata: dict[str, Any]) -> dict[str, Any]:
    """Without the values at which Kubeflow fails the task: None, NaN and the infinities, however deep."""
    return {key: value for key, value in metadata.items() if _is_clean(value)}


def _is_clean(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_clean, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_clean, value))
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
