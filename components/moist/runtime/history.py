"""Commands about earlier runs: list them, fetch an artifact, run one component again, show the lineage."""

import argparse
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moist.errors import InputError
from moist.presets import ALL_ROUTERS
from moist.reports.lineage import lineage_page, lineage_text
from moist.runtime import local_store
from moist.runtime.lineage import artifacts_under, trace
from moist.runtime.local_runner import LocalRun, new_run_id, run_pipeline
from moist.runtime.location import Location
from moist.runtime.outcome import TABLE, show_outcome
from moist.runtime.rerun import check_imports, planned_rerun, task_named, tasks_to_rerun
from moist.runtime.runs import (
    RUNS_URI,
    RunRecord,
    artifacts_of,
    fetch,
    find_artifact,
    list_runs,
    read_run,
    remove_runs,
    same_name,
)
from moist.runtime.store import Store, store_is_configured
from moist.runtime.terminal import columns, say, show, shown

PipelineFactory = Callable[..., Any]
PROBLEMS_FOUND = 3


@contextmanager
def kept_store(home: Path, to_read: bool = False) -> Iterator[tuple[Store, dict[str, str]]]:
    """The store that holds earlier runs, and its environment: the configured one, else the one served from `home`.

    To read from it is possible while a run goes on.

    Raises:
        InputError: if nothing ever ran there.
    """
    folder = home.resolve() / "store"
    if not store_is_configured() and not folder.exists():
        raise InputError(f"There are no runs in {shown(home.resolve())} yet: start one with `pipeline.py run`.")
    with local_store.store(folder, to_read=to_read) as environment:
        yield Store.of(environment), environment


def runs_command(options: argparse.Namespace) -> None:
    """`runs`: what ran here, newest first."""
    going_on = local_store.of_a_run(options.home / "store") is not None
    with kept_store(options.home, to_read=True) as (store, _):
        store.ensure_bucket(local_store.BUCKET)
        records = list_runs(store)
    # The embedded store serves one run at a time, so whatever else says it is running was killed.
    killed = [record.id for record in records if record.state == "running" and not store_is_configured()]
    rows = [_row(record, record.id in killed[1 if going_on else 0 :]) for record in records]
    show(columns(["run", "state", "preset", "data set", "started", "seconds", "mixture", ""], rows))


def _row(record: RunRecord, killed: bool) -> list[str]:
    accuracy = record.mixture_accuracy
    return [
        record.id,
        "killed" if killed else record.state,
        record.preset or "-",
        str(record.arguments.get("dataset", "-")),
        record.started,
        f"{record.seconds:.0f}",
        "-" if accuracy is None else f"{accuracy:.2%}",
        f"{record.rerun} again, from {record.rerun_of}" if record.rerun_of else "",
    ]


def fetch_command(options: argparse.Namespace) -> None:
    """`fetch`: one artifact of a run, verified."""
    with kept_store(options.home, to_read=True) as (store, _):
        if options.root:
            artifacts = artifacts_under(store, run_root(options.root, options.run))
        else:
            artifacts = read_run(store, options.run).artifacts
        _, output, reference = find_artifact(artifacts, options.artifact)
        path = fetch(store, reference, output, options.output)
    show(shown(path.resolve()))


def remove_command(options: argparse.Namespace) -> None:
    """`remove`: runs of this machine, with their artifacts and reports."""
    with kept_store(options.home) as (store, _):
        for run, held in remove_runs(store, options.runs).items():
            shutil.rmtree(options.home / "runs" / run, ignore_errors=True)
            say(f"Removed {run}: {held / 1e6:,.1f} MB.")


def run_root(root: str, run: str) -> str:
    """The URI under which a run's artifacts are: `root` itself if it ends with the run, else the run under it."""
    Location.parse(root)
    return root.rstrip("/") if root.rstrip("/").rsplit("/", 1)[-1] == run else f"{root.rstrip('/')}/{run}"


def lineage_command(options: argparse.Namespace) -> int:
    """`lineage`: where every artifact of a run came from; the exit code says whether all is well."""
    with kept_store(options.home, to_read=True) as (store, _):
        title, also = options.run, []
        if options.root:
            root = run_root(options.root, options.run)
        else:
            record = read_run(store, options.run)
            title, root = record.id, f"{RUNS_URI}/{record.id}"
            also = [reference.uri for outputs in record.artifacts.values() for reference in outputs.values()]
        lineage = trace(store, root, title, also, thorough=not options.quick)
    show(lineage_text(lineage))
    if options.html is not None:
        options.html.parent.mkdir(parents=True, exist_ok=True)
        options.html.write_text(lineage_page(lineage), "utf-8")
        say(f"Wrote {options.html}.")
    return PROBLEMS_FOUND if lineage.problems else 0


def rerun_command(make_pipeline: PipelineFactory, options: argparse.Namespace) -> None:
    """`rerun`: one task again on this machine, with `--downstream` all that depend on it, as a run of its own."""
    with kept_store(options.home) as (store, environment):
        name = make_pipeline().pipeline_spec.pipeline_info.name
        earlier = read_run(store, options.source, name)
        pipeline = make_pipeline(routers_of(earlier))
        if earlier.pipeline != name:
            raise InputError(
                f"Run {earlier.id} is of the pipeline {earlier.pipeline!r}, but only runs of {name!r} can be rerun in "
                "part; run it again as a whole, its unchanged tasks are taken from the cache."
            )
        task = task_named(pipeline, options.stage)
        again, arguments, changes = planned_rerun(
            pipeline,
            task,
            options.set,
            downstream=options.downstream,
            arguments=earlier.arguments,
            changed=earlier.changed,
            artifacts=earlier.artifacts,
        )
        check_imports(store, again)
        run_id = new_run_id(name)
        folder = options.home.resolve() / "runs" / run_id
        run = LocalRun(run_id, store, environment, folder, use_cache=False, say=say)
        run.reused = _reused(earlier, tasks_to_rerun(pipeline, task, downstream=True))
        run.facts = {
            "preset": earlier.preset,
            "routers": routers_of(earlier),
            "rerun_of": earlier.id,
            "rerun": task,
            "changed": changes,
            "arguments": earlier.arguments,
        }
        say(f"Run {run_id}: {', '.join(again.tasks)} again, from {earlier.id}")
        run_pipeline(run, again.pipeline, arguments)
        show_outcome(TABLE, store, artifacts_of(run.tasks), folder)


def _reused(earlier: RunRecord, affected: list[str]) -> dict[str, dict[str, Any]]:
    """The earlier run's tasks that a rerun leaves valid, so that it can be looked at, and rerun, as a whole."""
    return {
        name: {**entry, "state": "reused", "seconds": 0.0}
        for name, entry in earlier.tasks.items()
        if "output" in entry and not any(same_name(name, task) for task in affected)
    }


def routers_of(record: RunRecord) -> tuple[str, ...]:
    """The routers a run trained."""
    return record.routers or ALL_ROUTERS[:1]
