"""The pipeline's command line: compile it, run it here or on a cluster, and look at what came out."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kfp import compiler

from moist.pipelines.kinds import Pipeline, pipelines
from moist.runtime import doctor, history, submit
from moist.runtime.flags import (
    add_arguments,
    add_cluster,
    add_home,
    add_images,
    add_sizes,
    add_submission,
    add_submit,
    for_a_cluster_only,
    images_of,
)
from moist.runtime.kubeflow import Images
from moist.runtime.local_store import BUCKET
from moist.runtime.outcome import show_outcome
from moist.runtime.pipeline_spec import check_sources
from moist.runtime.run_here import add_run_arguments, finished_run
from moist.runtime.runs import artifacts_of
from moist.runtime.terminal import check_yaml, exit_code_of, say

PipelineFactory = Callable[..., Any]
Command = Callable[[argparse.Namespace], Any]


def main(make_pipeline: PipelineFactory, argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. Errors are one sentence on stderr."""
    given = list(sys.argv[1:] if argv is None else argv)
    options = parser_for(make_pipeline, given).parse_args(given)
    return exit_code_of(lambda: options.command(options))


def parser_for(make_pipeline: PipelineFactory, given: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for what is given: each pipeline has flags of its own. `make_pipeline` makes MoIST's."""
    known = pipelines(make_pipeline)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--pipeline", nargs="?")
    name = first.parse_known_args(given)[0].pipeline
    return _parser(make_pipeline, known, name if name in known else "moist")


def _parser(make_pipeline: PipelineFactory, known: Mapping[str, Pipeline], name: str) -> argparse.ArgumentParser:
    pipeline = known[name]
    parser = argparse.ArgumentParser(prog="pipeline.py", description=pipeline.description, allow_abbrev=False)
    parser.add_argument("--pipeline", choices=tuple(known), help="which one run, compile and submit are about [moist]")
    commands = parser.add_subparsers(title="commands", required=True)
    made = pipeline.make(Images(), {})

    def command(name: str, function: Command, help_: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.", allow_abbrev=False)
        added.set_defaults(command=function)
        return added

    def of_pipeline(parser: argparse.ArgumentParser) -> None:
        add_images(parser)
        parser.add_argument(
            "--pipeline",
            choices=tuple(known),
            default=name,
            help="which; each has flags of its own, see for example `run --pipeline mode --help` [moist]",
        )
        for flag, how in pipeline.flags.items():
            parser.add_argument(flag, **how)
        add_arguments(parser, made, pipeline.presets)

    run = command("run", partial(_run, pipeline), "run the pipeline on this machine")
    add_run_arguments(run)
    add_home(run)
    of_pipeline(run)

    compile_ = command("compile", partial(_compile, pipeline), "write the pipeline's YAML for Kubeflow")
    compile_.add_argument("--output", type=Path, default=Path(f"{name}.yaml"), metavar="FILE", help=f"[{name}.yaml]")
    of_pipeline(compile_)

    sent = command("submit", partial(_submit, pipeline), "run the pipeline on a Kubeflow cluster and wait for it")
    add_submit(sent)
    add_home(sent)
    of_pipeline(sent)

    runs = command("runs", _here_or_there(history.runs_command, submit.runs_on_cluster), "list runs, newest first")
    runs.add_argument("--limit", type=int, default=20, metavar="N", help="how many of a cluster's runs [20]")
    add_cluster(runs)
    add_home(runs)

    fetch = command("fetch", history.fetch_command, "download one artifact of a run and check its digest")
    _add_run(fetch)
    fetch.add_argument("artifact", metavar="ARTIFACT", help="task/output, or output where only one task gives it")
    fetch.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where to put it [.]")

    rerun_ = _here_or_there(
        partial(history.rerun_command, make_pipeline), partial(submit.rerun_on_cluster, make_pipeline)
    )
    rerun = command("rerun", rerun_, "run one task of the moist pipeline again, on an earlier run's artifacts")
    rerun.add_argument("stage", metavar="STAGE", help="the task, e.g. evaluate or train_jointly")
    rerun.add_argument("--from", dest="source", required=True, metavar="RUN", help="the earlier run, or latest")
    rerun.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the task")
    rerun.add_argument("--downstream", action="store_true", help="also every task that depends on it")
    add_home(rerun)
    add_cluster(rerun)
    add_submission(rerun)
    add_images(rerun, otherwise="the earlier run's")
    add_sizes(rerun, made)
    rerun.add_argument("--root", metavar="URI", help="where the earlier run's artifacts are, if Kubeflow's root is not")

    remove = command("remove", history.remove_command, "delete runs of this machine, with artifacts and reports")
    remove.add_argument("runs", nargs="+", metavar="RUN", help="a run's id, or latest")
    add_home(remove)

    lineage = command("lineage", history.lineage_command, "show where every artifact of a run came from")
    _add_run(lineage)
    lineage.add_argument("--html", type=Path, metavar="FILE", help="also write it as a page with a graph")
    lineage.add_argument("--quick", action="store_true", help="compare sizes only, do not read every byte")

    check = command("doctor", doctor.doctor_command, "check what runs need, here and on a cluster")
    check.add_argument(
        "--bucket",
        metavar="NAME[/PREFIX]",
        help=f"the bucket to try, or where in it your keys may write [{BUCKET}, with --host {doctor.CLUSTER_BUCKET}]",
    )
    check.add_argument("--gpu-type", default="nvidia.com/gpu", metavar="NAME", help="[nvidia.com/gpu]")
    add_cluster(check, required=True)
    add_home(check)
    add_images(check)
    return parser


def _here_or_there(here: Command, there: Command) -> Command:
    """A command that is for this machine, and with --host for a cluster."""

    def command(options: argparse.Namespace) -> Any:
        if options.host:
            return there(options)
        for_a_cluster_only(options)
        return here(options)

    return command


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's id, or latest")
    parser.add_argument(
        "--root",
        metavar="URI",
        help="for a run on a cluster: where its artifacts are, e.g. s3://mlpipeline/v2/artifacts/moist",
    )
    add_home(parser)


def _made(pipeline: Pipeline, options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The pipeline that is asked for, and all its arguments."""
    made = pipeline.make(images_of(options), vars(options))
    return made, pipeline.arguments(made, options)


def _run(pipeline: Pipeline, options: argparse.Namespace) -> None:
    made, arguments = _made(pipeline, options)
    facts = pipeline.facts(vars(options))
    with finished_run(made, arguments, options, facts, pipeline.subject(arguments)) as (run, folder):
        show_outcome(pipeline.outcome, run.store, artifacts_of(run.tasks), folder)


def _compile(pipeline: Pipeline, options: argparse.Namespace) -> None:
    made, arguments = _made(pipeline, options)
    check_sources(made, arguments, network=True)
    check_yaml(options.output)
    submit.warn_of_many_tasks(made, arguments)
    compiler.Compiler().compile(made, str(options.output), pipeline_parameters=arguments)
    say(f"Wrote {options.output}: preset {options.preset}. {submit.images_told(options)}")


def _submit(pipeline: Pipeline, options: argparse.Namespace) -> int:
    return submit.submit_pipeline(*_made(pipeline, options), options, pipeline.outcome)
