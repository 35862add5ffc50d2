"""Runs a pipeline on this machine with kfp.local: the same DAG, the same programs, artifacts through a store."""

import builtins
import contextlib
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from kfp import local
from kfp.local import status, subprocess_task_handler
from kfp.local.orchestrator import task_spec_utils

from moist.errors import MoistError
from moist.runtime import cores, provenance
from moist.runtime.artifacts import write_json
from moist.runtime.containers import Containers
from moist.runtime.contract import CHECKPOINTS, OUTPUT_ROOT
from moist.runtime.fork_server import ForkedTask, ForkServer, is_possible
from moist.runtime.local_store import BUCKET
from moist.runtime.location import is_uri
from moist.runtime.loops import planned_tasks
from moist.runtime.pipeline_spec import stage_of
from moist.runtime.store import Store
from moist.runtime.task import local_task_name, loops_around
from moist.runtime.task_cache import cache_key, cached_task, digests, hardware, keep_task, named_sources
from moist.runtime.turns import Turns

RECORD = "run.json"
THREADS = {"OMP_WAIT_POLICY": "passive"}
"""Threads that spin while they wait make training up to twelve times slower when something else uses a core."""

GRACE_SECONDS = 2.0
KILL_SECONDS = 10.0
PYTHON_MODULE = ["python3", "-m"]


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
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    children: set[subprocess.Popen[bytes] | ForkedTask] = field(default_factory=set)
    failure: MoistError | None = None
    reused: dict[str, dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    containers: Containers | None = None
    """Where tasks run; None: as processes of this machine."""
    turns: Turns = field(default_factory=Turns)
    keep: Callable[[], None] = lambda: None
    """Writes the run's record, so that it can be looked at while it goes on, and if it is killed."""
    server: Callable[[], ForkServer] | None = None
    """Starts, once, the process that tasks are forked from; None: each is a process of its own from the start."""

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
    spec = pipeline.pipeline_spec
    executors = [spec.components[task.component].executor_label for task in planned_tasks(pipeline, arguments)]
    run.total = sum("container" in spec.deployment_spec["executors"][label] for label in executors)
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

    run.keep = partial(keep, "running")
    run.keep()
    run.work.mkdir(parents=True, exist_ok=True)
    try:
        with _forking(run, spec), _handler_for(run), _nested_loops(), _quiet_kfp(run.work / "kfp.log"), _stopping(run):
            local.init(
                runner=local.SubprocessRunner(use_venv=False),
                pipeline_root=str(run.work),
                workspace_root=str(run.work / "workspace"),
            )
            pipeline(**arguments)
    except (KeyboardInterrupt, SystemExit):
        keep("interrupted")
        raise
    except Exception as error:
        keep("failed")
        raise run.failure or error  # noqa: B904 - the failure is what the error is about
    keep("succeeded")


def _task_handler(run: LocalRun) -> type:
    class StageHandler(subprocess_task_handler.SubprocessTaskHandler):  # type: ignore[misc]
        """Runs a stage's program as a process of this machine, or takes its outputs from an earlier run."""

        def validate_image(self, image: str) -> None: ...

        def validate_not_container_component(self, full_command: list[str]) -> None: ...

        def validate_not_containerized_python_component(self, full_command: list[str]) -> None: ...

        def run(self) -> status.Status:
            try:
                return self._run_or_reuse()
            except MoistError as error:
                run.failure = run.failure or error  # in a loop, kfp.local only says that something failed
                raise

        def _run_or_reuse(self) -> status.Status:
            executor_input = json.loads(self.full_command[-1])
            output_file = Path(executor_input["outputs"]["outputFile"])
            name, containers = local_task_name(output_file), run.containers
            # In a container, the image's id says more than any version: the same code in another image is another key.
            code = {"image": containers.images[self.image]} if containers else provenance.versions()
            alone = stage_of(self.full_command).alone
            if alone:  # It measures times, which are this machine's.
                code = {**code, **hardware()}
            named = named_sources(executor_input)
            sources = [name for name in named if os.path.exists(name)]  # noqa: PTH110 - False for what is no path
            remote = {uri: etag for name in named if is_uri(name) for uri, etag in run.store.etags(name).items()}
            key = cache_key(self.full_command, executor_input, {**code, **digests(sources), **remote})
            cached = cached_task(run.store, key) if run.use_cache else None
            if cached is not None and run.failure is None:
                run.tasks[name] = {"state": "cached", "seconds": 0.0, **cached}
                run.keep()
                run.say(f"[{next(run.numbers)}/{run.total}] {name}: unchanged, taken from {cached['run']}")
                write_json(output_file, cached["output"])
                return status.Status.SUCCESS
            with run.turns.turn(alone):
                if run.failure is not None:
                    raise run.failure  # kfp.local goes through all of a loop, whatever happened to the first
                run.say(f"[{next(run.numbers)}/{run.total}] {name}")
                began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="milliseconds")
                checkpoints = {CHECKPOINTS: f"s3://{BUCKET}/checkpoints"}
                threads = _threads(0 if alone else loops_around(output_file))
                ours = {**self.env_vars, **run.environment, OUTPUT_ROOT: run.uri}
                if containers is None:
                    exit_code = _run_child(run, self.full_command, {**threads, **checkpoints, **os.environ, **ours})
                else:
                    exit_code = containers.run(
                        name,
                        self.image,
                        self.full_command,
                        {**threads, **checkpoints, **ours},
                        output_file.parent,
                        sources=sources,
                    )
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
            run.tasks[name] = {"state": "succeeded", "started": started, "seconds": seconds, **entry}
            run.keep()
            if containers or provenance.code_is_unchanged():  # else the key is not of what has run
                keep_task(run.store, key, entry)
            return status.Status.SUCCESS

    return StageHandler


@contextlib.contextmanager
def _forking(run: LocalRun, spec: Any) -> Iterator[None]:
    """While a run lasts, the process that its tasks are forked from; started when the first one is due."""
    containers = [each["container"] for each in spec.deployment_spec["executors"].values() if "container" in each]
    commands = [list(container["command"]) for container in containers]
    modules = [command[2] for command in commands if command[:2] == PYTHON_MODULE]
    started: list[ForkServer] = []
    lock = threading.Lock()

    def server() -> ForkServer:
        with lock:
            if not started:
                started.append(ForkServer(modules, {**THREADS, **os.environ}))
            return started[0]

    run.server = server if is_possible() and not run.containers else None
    try:
        yield
    finally:
        for each in started:
            each.close()


def _start(run: LocalRun, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes] | ForkedTask:
    if run.server is not None and command[:2] == PYTHON_MODULE:
        return run.server().start(command[2:], environment)
    return subprocess.Popen([sys.executable if part == "python3" else part for part in command], env=environment)


def _run_child(run: LocalRun, command: list[str], environment: dict[str, str]) -> int:
    child = _start(run, command, environment)
    run.children.add(child)
    try:
        with child:
            try:
                return child.wait()
            except BaseException:
                # `_stopping` asks it to end; it gets a moment to remove what it began, and no more.
                last = threading.Timer(KILL_SECONDS, child.kill)
                last.daemon = True
                last.start()
                raise
    finally:
        run.children.discard(child)


def _threads(loops: int) -> dict[str, str]:
    """How a task shall use the cores: kfp.local runs two iterations of a loop at a time, so each gets half of them."""
    return {**THREADS, "OMP_NUM_THREADS": str(max(1, cores.usable() >> loops))} if loops else THREADS


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
def _nested_loops() -> Iterator[None]:
    """In a loop inside a loop, kfp.local 2.17.3 puts the inner item where the outer one is meant; undo that."""
    before = task_spec_utils.create_parameter_loop_iteration_task_spec

    def corrected(original_task_spec: Any, loop_item: Any, loop_task_name: str) -> Any:
        made = before(original_task_spec, loop_item, loop_task_name)
        for name, given in original_task_spec.inputs.parameters.items():
            # An iteration's own item never comes from outside, so whatever item does is an outer loop's.
            if given.component_input_parameter.endswith("-loop-item"):
                made.inputs.parameters[name].CopyFrom(given)
        return made

    task_spec_utils.create_parameter_loop_iteration_task_spec = corrected
    try:
        yield
    finally:
        task_spec_utils.create_parameter_loop_iteration_task_spec = before


@contextlib.contextmanager
def _quiet_kfp(log: Path) -> Iterator[None]:
    """Keep kfp's own talk in a file: what the user sees is the stages' progress and ours."""
    logger, print_ = logging.getLogger(), builtins.print
    level, handlers = logger.level, logger.handlers[:]
    try:
        with log.open("w") as file, contextlib.redirect_stdout(file), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logger.addHandler(logging.StreamHandler(file))  # without one, what a loop logs would go to stderr
            yield
    finally:
        # kfp.local changes these around each task, and with two threads does not always put them back.
        logger.level, logger.handlers[:], builtins.print = level, handlers, print_


@contextlib.contextmanager
def _stopping(run: LocalRun) -> Iterator[None]:
    """A loop's tasks run in threads, which no interrupt reaches: end their processes too, and start no more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end_children() -> None:
        for child in list(run.children):
            child.terminate()
        if run.containers:
            run.containers.stop()

    def stop(number: int, frame: FrameType | None) -> None:
        run.failure = run.failure or RunFailedError("The run was stopped.", 128 + number)
        # A terminal's Ctrl-C reached them already, and a second one would disturb how they end.
        later = threading.Timer(0.0 if number == signal.SIGTERM else GRACE_SECONDS, end_children)
        later.daemon = True
        later.start()
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        raise SystemExit(128 + number)

    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # a shell has its background jobs ignore Ctrl-C
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
