"""Runs a pipeline on this machine with kfp.local: the same DAG, the same programs, artifacts through a store."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kfp import local
from kfp.local import status, subprocess_task_handler

from moist.errors import MoistError
from moist.runtime import provenance
from moist.runtime.artifacts import MANIFEST, write_json
from moist.runtime.contract import CHECKPOINTS, OUTPUT_ROOT
from moist.runtime.local_store import BUCKET
from moist.runtime.store import Store
from moist.runtime.task import settings_values

RECORD = "run.json"
THREADS = {"OMP_WAIT_POLICY": "passive"}
"""Threads that spin while they wait make training up to twelve times slower when something else uses a core."""


class RunFailedError(MoistError):
    """A task of a local run failed; carries its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class LocalRun:
    """One run on this machine: where its artifacts go, what each task did.

    `reused` are tasks of an earlier run whose outputs this one starts from; `facts` go into the run's record.
    """

    id: str
    store: Store
    environment: dict[str, str]
    work: Path
    use_cache: bool = True
    total: int = 0
    say: Callable[[str], None] = print
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    reused: dict[str, dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        return f"s3://{BUCKET}/runs/{self.id}"


def new_run_id(pipeline: str) -> str:
    """A run's name: pipeline and UTC time, unique to the microsecond."""
    return f"{pipeline}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"


def run_pipeline(run: LocalRun, pipeline: Any, arguments: dict[str, Any]) -> None:
    """Run a pipeline to its end; every artifact is then in the store under the run's URI, with a record of the tasks.

    Raises:
        RunFailedError: naming the task that failed, with its exit code.
    """
    run.store.ensure_bucket(BUCKET)
    executors = pipeline.pipeline_spec.deployment_spec["executors"].values()
    run.total = sum("container" in executor for executor in executors)
    record: dict[str, Any] = {
        "id": run.id,
        "pipeline": pipeline.pipeline_spec.pipeline_info.name,
        "arguments": arguments,
        "code_version": provenance.code_version(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "state": "running",
        **run.facts,
    }
    began = time.monotonic()

    def keep(state: str) -> None:
        finished = {"state": state, "seconds": round(time.monotonic() - began, 3), "tasks": {**run.reused, **run.tasks}}
        run.store.put_bytes(f"{run.uri}/{RECORD}", json.dumps({**record, **finished}, indent=1).encode())

    keep("running")
    run.work.mkdir(parents=True, exist_ok=True)
    try:
        with _handler_for(run), _quiet_kfp(run.work / "kfp.log"):
            local.init(
                runner=local.SubprocessRunner(use_venv=False),
                pipeline_root=str(run.work),
                workspace_root=str(run.work / "workspace"),
            )
            pipeline(**arguments)
    except KeyboardInterrupt:
        keep("interrupted")
        raise
    except Exception:
        keep("failed")
        raise
    keep("succeeded")


def _task_handler(run: LocalRun) -> type:
    class StageHandler(subprocess_task_handler.SubprocessTaskHandler):  # type: ignore[misc]
        """Runs a stage's program as a process of this machine, or takes its outputs from an earlier run."""

        def validate_image(self, image: str) -> None: ...

        def validate_not_container_component(self, full_command: list[str]) -> None: ...

        def validate_not_containerized_python_component(self, full_command: list[str]) -> None: ...

        def run(self) -> status.Status:
            executor_input = json.loads(self.full_command[-1])
            output_file = Path(executor_input["outputs"]["outputFile"])
            name, key = output_file.parent.name, cache_key(self.full_command, executor_input)
            heading = f"[{len(run.tasks) + 1}/{run.total}] {name}"
            cached = _cached(run, key) if run.use_cache else None
            if cached is not None:
                run.tasks[name] = {"state": "cached", "seconds": 0.0, **cached}
                run.say(f"{heading}: unchanged, taken from {cached['run']}")
                write_json(output_file, cached["output"])
                return status.Status.SUCCESS
            run.say(heading)
            began = time.monotonic()
            command = [sys.executable if part == "python3" else part for part in self.full_command]
            places = {CHECKPOINTS: f"s3://{BUCKET}/checkpoints", **os.environ}
            environment = {**THREADS, **places, **self.env_vars, **run.environment, OUTPUT_ROOT: run.uri}
            exit_code = subprocess.run(command, env=environment, check=False).returncode
            seconds = round(time.monotonic() - began, 3)
            if exit_code != 0 or not output_file.exists():
                run.tasks[name] = {"state": "failed", "seconds": seconds, "exit_code": exit_code}
                # Raised, not returned: kfp.local would try again, but here nothing preempts, so it would fail again.
                raise RunFailedError(
                    f"Task {name} failed with exit code {exit_code}; what it said is above. Finished tasks are kept: "
                    "run the same command again to go on from there.",
                    exit_code if exit_code > 0 else 1,
                )
            entry = {"run": run.id, "task": name, "output": json.loads(output_file.read_text())}
            run.tasks[name] = {"state": "succeeded", "seconds": seconds, **entry}
            run.store.put_bytes(_cache_uri(key), json.dumps(entry).encode())
            return status.Status.SUCCESS

    return StageHandler


def cache_key(command: list[str], executor_input: dict[str, Any]) -> str:
    """What a task's outputs depend on: program, code, parameters, and its inputs by digest, wherever they lie."""
    inputs = executor_input.get("inputs", {})
    artifacts = {
        name: [artifact.get("metadata", {}).get("digest", artifact["uri"]) for artifact in entry["artifacts"]]
        for name, entry in inputs.get("artifacts", {}).items()
    }
    facts = [
        command[:-1],
        provenance.versions(),
        settings_values(inputs.get("parameterValues", {})),
        artifacts,
        sorted(executor_input["outputs"].get("artifacts", {})),
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _cache_uri(key: str) -> str:
    return f"s3://{BUCKET}/cache/{key}.json"


def _cached(run: LocalRun, key: str) -> dict[str, Any] | None:
    """An earlier task's outputs, if all of them are still whole in the store."""
    if not run.store.list(_cache_uri(key)):
        return None
    entry: dict[str, Any] = json.loads(run.store.get_bytes(_cache_uri(key)))
    for output in entry["output"]["artifacts"].values():
        uri = output["artifacts"][0]["uri"]
        found = run.store.list(uri)
        if not found or ("" not in found and MANIFEST not in found):
            return None
    return entry


@contextlib.contextmanager
def _handler_for(run: LocalRun) -> Iterator[None]:
    """kfp.local looks its subprocess handler up at call time; ours also runs container components."""
    before = subprocess_task_handler.SubprocessTaskHandler
    subprocess_task_handler.SubprocessTaskHandler = _task_handler(run)
    try:
        yield
    finally:
        subprocess_task_handler.SubprocessTaskHandler = before


@contextlib.contextmanager
def _quiet_kfp(log: Path) -> Iterator[None]:
    """Keep kfp's own talk in a file: what the user sees is the stages' progress and ours."""
    with log.open("w") as file, contextlib.redirect_stdout(file), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
