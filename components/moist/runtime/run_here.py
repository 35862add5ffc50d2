"""Running a pipeline on this machine: as processes or in containers, with a store that lives as long."""

import argparse
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moist.runtime import provenance
from moist.runtime.containers import started
from moist.runtime.local_runner import LocalRun, new_run_id, run_pipeline
from moist.runtime.local_store import store
from moist.runtime.pipeline_spec import check_sources
from moist.runtime.store import Store
from moist.runtime.terminal import say


@contextlib.contextmanager
def finished_run(
    pipeline: Any, arguments: dict[str, Any], options: argparse.Namespace, facts: Mapping[str, Any], what: str
) -> Iterator[tuple[LocalRun, Path]]:
    """Run a pipeline; yields the finished run, while its store still answers, and the folder for what is kept of it.

    `options` are those of the command `run`; `facts` go into the run's record; `what` says what it runs on.

    Raises:
        RunFailedError: naming the task that failed.
    """
    if options.runner == "docker":
        check_sources(pipeline, arguments, network=False)
    run_id = new_run_id(pipeline.pipeline_spec.pipeline_info.name)
    folder, stored = options.home.resolve() / "runs" / run_id, options.home.resolve() / "store"
    with contextlib.ExitStack() as stack:
        containers = stack.enter_context(started(run_id, pipeline)) if options.runner == "docker" else None
        environment = stack.enter_context(containers.store(stored) if containers else store(stored))
        run = LocalRun(run_id, Store.of(environment), environment, folder, use_cache=not options.no_cache, say=say)
        run.facts = {"preset": options.preset, **facts}
        if containers:
            run.containers = containers
            run.facts |= {"runner": "docker", "images": containers.images, "code_version": containers.code_version}
            if containers.code_version != provenance.code_version():
                say(f"The images hold {containers.code_version}, not this checkout's code: make images builds it.")
        say(f"Run {run_id}: preset {options.preset}, {what}")
        run_pipeline(run, pipeline, arguments)
        yield run, folder


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `run` that say how, not what."""
    parser.add_argument("--no-cache", action="store_true", help="run every task, also unchanged ones")
    parser.add_argument(
        "--runner", choices=("host", "docker"), default="host", help="processes, or containers of the images [host]"
    )
