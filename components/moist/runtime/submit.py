"""Commands for a cluster: submit the pipeline, rerun a component of it, list runs."""

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict, ParseError
from kfp import compiler, components

from moist.errors import InputError, MoistError
from moist.runtime.cluster import AccessError, Cluster, ClusterError, connect, waits
from moist.runtime.flags import images_of
from moist.runtime.kubeflow import moved_image
from moist.runtime.lineage import artifacts_under
from moist.runtime.local_runner import RunFailedError, new_run_id
from moist.runtime.loops import planned_tasks
from moist.runtime.outcome import TABLE, Outcome, show_outcome
from moist.runtime.pipeline_spec import check_sources, dags_of, defaults_of, stages_of
from moist.runtime.rerun import check_imports, planned_rerun, task_named
from moist.runtime.runs import LATEST
from moist.runtime.scheduling import SIZES
from moist.runtime.store import ENDPOINT_VARIABLES, Store, store_is_configured
from moist.runtime.terminal import columns, say, show
from moist.runtime.watch import failure_of, task_names, watch

PipelineFactory = Callable[..., Any]
DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"
"""Where Kubeflow keeps artifacts unless told otherwise."""
MANY_TASKS = 60
"""By estimate some 13 KiB of Argo's record each, compressed, of which it keeps at most 1 MiB (k8s/README.md)."""
INTERRUPTED = 130
RECENT = 20
"""Among how many of Kubeflow's newest runs `latest` is looked for."""


@dataclass(frozen=True)
class Submission:
    """A compiled pipeline with its arguments, and how Kubeflow shall run it."""

    name: str
    yaml: str
    arguments: Mapping[str, Any]
    experiment: str
    service_account: str | None
    root: str | None
    keep_as: str | None
    outcome: Outcome


def submit_pipeline(pipeline: Any, arguments: Mapping[str, Any], options: argparse.Namespace, outcome: Outcome) -> int:
    """Run any pipeline on a cluster with these arguments; `options` are those of the command `submit`."""
    check_sources(pipeline, arguments, network=True)
    warn_of_many_tasks(pipeline, arguments)
    if options.no_cache:
        for dag in dags_of(pipeline):
            for task in dag.tasks.values():
                task.caching_options.enable_cache = False
    cluster = connect(options.host, options.namespace, options.token_file)
    say(images_told(options))
    submission = _submission(options, pipeline, compiled(pipeline), arguments, outcome)
    return _run(cluster, pipeline, submission, options)


def images_told(options: argparse.Namespace) -> str:
    """Which images a pipeline names, and what to see to where these may not be what its nodes have."""
    images = images_of(options)
    told = f"Images: {images.of('slim')} and {images.of('train')}."
    if images.slim and images.train:
        return told
    if not options.repository:
        return f"{told} Only nodes that have them already can run them: name where they were pushed with --repository."
    if not options.tag:
        return f"{told} Nodes and Kubeflow's cache go by these names: push changed code under another --tag."
    return told


def warn_of_many_tasks(pipeline: Any, arguments: Mapping[str, Any]) -> None:
    """Say so, if a run with these arguments may be too large for Argo."""
    count = sum(1 for _ in planned_tasks(pipeline, arguments))
    if count > MANY_TASKS:
        say(
            f"A run of {count} tasks: it may end before they do, when Argo's record of it outgrows 1 MiB, unless Argo "
            "is set up to keep that elsewhere (k8s/README.md). Fewer seeds a run make it smaller."
        )


def compiled(pipeline: Any) -> str:
    """A pipeline's YAML."""
    with tempfile.TemporaryDirectory(prefix="moist-") as folder:
        path = Path(folder, "pipeline.yaml")
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_text()


def rerun_on_cluster(make_pipeline: PipelineFactory, options: argparse.Namespace) -> int:
    """`rerun --host`: as the local one, with the earlier run's artifacts imported where Kubeflow keeps them.

    What runs is the earlier run's own pipeline as Kubeflow has it, with its settings, and its images unless others are
    named. The store says where its artifacts are, since Kubeflow's API does not: so the store's endpoint must be in
    the environment here.
    """
    store = Store.from_environment()
    cluster = connect(options.host, options.namespace, options.token_file)
    earlier, pipeline = _earlier(cluster, options.source, make_pipeline().pipeline_spec.pipeline_info.name)
    config = earlier.runtime_config
    pipeline = _with_images(pipeline, options)
    task = task_named(pipeline, options.stage)
    root = options.root or run_uri(pipeline, earlier.run_id, config and config.pipeline_root)
    given = {**defaults_of(pipeline), **((config.parameters if config else None) or {})}
    given |= {name: value for name in SIZES if (value := getattr(options, name, None)) is not None}
    artifacts = artifacts_under(store, root)
    if not artifacts:
        raise InputError(
            f"Nothing lies under {root}: Kubeflow took all of that run from its cache, or its artifacts are elsewhere "
            "(--root). Rerun from the run that made them, or submit it again with --no-cache."
        )
    again, arguments, _ = planned_rerun(
        pipeline,
        task,
        options.set,
        downstream=options.downstream,
        arguments=given,
        changed={},
        artifacts=artifacts,
    )
    check_imports(store, again)
    say(f"{', '.join(again.tasks)} again, from {earlier.run_id}")
    submission = _submission(options, pipeline, again.yaml, arguments, TABLE)
    return _run(cluster, again.pipeline, submission, options)


def _earlier(cluster: Cluster, run: str, name: str) -> tuple[Any, Any]:
    """A run of the pipeline of this name, or the newest one for `latest`, and its pipeline.

    Raises:
        InputError: there is none, or it is of another pipeline.
    """
    if run != LATEST:
        found = cluster.call("get_run", run_id=run)
        pipeline = pipeline_of(cluster, found)
        its_name = pipeline.pipeline_spec.pipeline_info.name
        if its_name != name:
            raise InputError(
                f"Run {run} is of the pipeline {its_name!r}, but only runs of {name!r} can be rerun in part; run it "
                "again as a whole, Kubeflow takes its unchanged tasks from its cache."
            )
        return found, pipeline
    for listed in _listed(cluster, RECENT):
        found = cluster.call("get_run", run_id=listed.run_id)
        with contextlib.suppress(InputError):
            pipeline = pipeline_of(cluster, found)
            if pipeline.pipeline_spec.pipeline_info.name == name:
                return found, pipeline
    raise InputError(f"None of the {RECENT} newest runs in Kubeflow at {cluster.host} is of the pipeline {name!r}.")


def pipeline_of(cluster: Cluster, run: Any) -> Any:
    """A run's pipeline as Kubeflow keeps it: with the run, or as a version of a pipeline.

    Raises:
        InputError: Kubeflow has none, or none that kfp can read.
    """
    spec, version = run.pipeline_spec, run.pipeline_version_reference
    if not spec and version:
        ids = {"pipeline_id": version.pipeline_id, "pipeline_version_id": version.pipeline_version_id}
        spec = cluster.call("get_pipeline_version", **ids).pipeline_spec
    if not spec:
        raise InputError(f"Kubeflow at {cluster.host} does not say what run {run.run_id} ran: submit it again.")
    try:
        return _loaded(spec["pipeline_spec"], spec.get("platform_spec")) if "pipeline_spec" in spec else _loaded(spec)
    except (ValueError, TypeError, KeyError, ParseError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"Run {run.run_id} is of no pipeline that this kfp can read ({reason}).") from None


def _with_images(pipeline: Any, options: argparse.Namespace) -> Any:
    """The same pipeline with the tasks on the images that the command line names; what it leaves out stays as it is."""
    spec, images = MessageToDict(pipeline.pipeline_spec), images_of(options)
    for name, stage in stages_of(pipeline).items():
        component = spec["components"][spec["root"]["dag"]["tasks"][name]["componentRef"]["name"]]
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        moved = moved_image(container["image"], options.repository, options.tag)
        container["image"] = images.given(stage.image) or moved
    return _loaded(spec, MessageToDict(pipeline.platform_spec))


def _loaded(*documents: Any) -> Any:
    """kfp's component of a pipeline and its platform's settings, if there are any."""
    return components.load_component_from_text(yaml.safe_dump_all(filter(None, documents)))


def runs_on_cluster(options: argparse.Namespace) -> None:
    """`runs --host`: the newest runs that Kubeflow knows."""
    cluster = connect(options.host, options.namespace, options.token_file)
    rows = []
    for run in _listed(cluster, options.limit):
        seconds = (run.finished_at - run.created_at).total_seconds() if _ended(run) else None
        started = run.created_at.isoformat(timespec="seconds") if run.created_at else "-"
        parameters = (run.runtime_config.parameters if run.runtime_config else None) or {}
        rows.append(
            [
                run.run_id,
                run.display_name or "-",
                (run.state or "unknown").lower(),
                str(parameters.get("dataset", "-")),
                started,
                "-" if seconds is None else f"{seconds:.0f}",
            ]
        )
    show(columns(["run", "name", "state", "data set", "started", "seconds"], rows))


def _ended(run: Any) -> bool:
    # Kubeflow gives the beginning of time as the end of a run that goes on.
    return run.created_at is not None and run.finished_at is not None and run.finished_at > run.created_at


def _listed(cluster: Cluster, count: int, **filters: Any) -> list[Any]:
    listed = cluster.call(
        "list_runs", page_size=count, sort_by="created_at desc", namespace=cluster.namespace, **filters
    )
    return listed.runs or []


def _submission(
    options: argparse.Namespace, pipeline: Any, yaml: str, arguments: Mapping[str, Any], outcome: Outcome
) -> Submission:
    return Submission(
        name=pipeline.pipeline_spec.pipeline_info.name,
        yaml=yaml,
        arguments=arguments,
        experiment=options.experiment,
        service_account=options.service_account,
        root=options.pipeline_root,
        keep_as=options.keep_as,
        outcome=outcome,
    )


def _run(cluster: Cluster, pipeline: Any, submission: Submission, options: argparse.Namespace) -> int:
    """Create the run, watch it, and show what came out."""
    run_id = create(cluster, submission)
    link = cluster.link(run_id)
    say(f"Run {run_id}: {link}")
    if options.no_wait:
        show(run_id)
        return 0
    names = task_names(pipeline)
    try:
        run = watch(cluster, run_id, names)
    except KeyboardInterrupt:
        say(f"Interrupted. The run goes on: {link}")
        return INTERRUPTED
    except (AccessError, ClusterError) as error:
        raise type(error)(f"{error} The run goes on: {link}") from None
    if run.state != "SUCCEEDED":
        raise RunFailedError(failure_of(run, names, link), 1)
    if submission.outcome.task in names.values():
        show_results(run_uri(pipeline, run_id, submission.root), run_id, options.home, submission.outcome)
    show(f"Run: {link}")
    return 0


def create(cluster: Cluster, submission: Submission) -> str:
    """Create a run; returns its id. A request that was cut off is not sent twice if it did create the run."""
    name = new_run_id(submission.name)
    experiment = cluster.call("create_experiment", name=submission.experiment, namespace=cluster.namespace)
    with tempfile.TemporaryDirectory(prefix="moist-") as folder:
        package = Path(folder, "moist.yaml")
        package.write_text(submission.yaml)
        what = _kept(cluster, submission.keep_as, package, name) if submission.keep_as else {}
        for wait in waits(4):
            try:
                run = cluster.call(
                    "run_pipeline",
                    experiment_id=experiment.experiment_id,
                    job_name=name,
                    params=dict(submission.arguments),
                    pipeline_root=submission.root,
                    service_account=submission.service_account,
                    **(what or {"pipeline_package_path": str(package)}),
                )
                return str(run.run_id)
            except ClusterError:
                if wait is None:
                    raise
                time.sleep(wait)
                created = _listed(cluster, 2, filter=_named(name))
                if created:
                    return str(created[0].run_id)
    raise ClusterError(f"Kubeflow at {cluster.host} did not create the run.")


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _kept(cluster: Cluster, pipeline: str, package: Path, version: str) -> dict[str, str]:
    """Keep the pipeline in Kubeflow under a name, as a new version if it is there already."""
    known = cluster.call("list_pipelines", namespace=cluster.namespace, filter=_named(pipeline)).pipelines
    if known:
        new = cluster.call(
            "upload_pipeline_version",
            pipeline_package_path=str(package),
            pipeline_version_name=version,
            pipeline_id=known[0].pipeline_id,
        )
        return {"pipeline_id": new.pipeline_id, "version_id": new.pipeline_version_id}
    added = cluster.call(
        "upload_pipeline",
        pipeline_package_path=str(package),
        pipeline_name=pipeline,
        namespace=cluster.namespace,
    )
    versions = cluster.call("list_pipeline_versions", pipeline_id=added.pipeline_id, sort_by="created_at desc")
    return {
        "pipeline_id": added.pipeline_id,
        "version_id": versions.pipeline_versions[0].pipeline_version_id,
    }


def run_uri(pipeline: Any, run_id: str, root: str | None) -> str:
    """Under which URI Kubeflow keeps a run's artifacts."""
    return f"{(root or DEFAULT_ROOT).rstrip('/')}/{pipeline.pipeline_spec.pipeline_info.name}/{run_id}"


def show_results(root: str, run_id: str, home: Path, outcome: Outcome) -> None:
    """Print what came out, from the store if this machine reaches it; else say where it is."""
    fetch = f"pipeline.py fetch {run_id} {outcome.task}/report --root"
    where = f"{fetch} {root}"
    if not store_is_configured():
        say(f"The results are in {root}. With {ENDPOINT_VARIABLES[0]} and the keys set: {where}")
        return
    try:
        store = Store.from_environment()
        artifacts = artifacts_under(store, root)
        if not artifacts:
            say(
                f"Nothing lies under {root}. Either Kubeflow took every task from its cache, and the results are those "
                "of an earlier run with the same arguments (--no-cache makes them anew), or artifacts go elsewhere: "
                f"then {fetch} URI"
            )
            return
        if not show_outcome(outcome, store, artifacts, home.resolve() / "runs" / run_id):
            say(
                f"What {outcome.task} gave is not under {root}: Kubeflow took that task from its cache, and what came "
                "out is that of an earlier run with the same arguments (--no-cache makes it anew). Of this run: "
                f"pipeline.py fetch {run_id} TASK/OUTPUT --root {root}"
            )
    except MoistError as error:
        say(f"The results could not be fetched from {root}: {error} Later: {where}")
