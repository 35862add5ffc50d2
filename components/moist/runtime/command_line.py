"""The pipeline's command line: compile it, run it here or on a cluster, and look at what came out."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kfp import compiler

from moist.errors import MoistError
from moist.presets import PRESETS, preset_arguments, preset_routers
from moist.runtime import history
from moist.runtime.kubeflow import Images
from moist.runtime.local_runner import LocalRun, new_run_id, run_pipeline
from moist.runtime.local_store import store
from moist.runtime.pipeline_spec import READERS, check_arguments, defaults_of, parameters_of
from moist.runtime.store import Store
from moist.runtime.terminal import say

PipelineFactory = Callable[..., Any]


def main(make_pipeline: PipelineFactory, argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. Errors are one sentence on stderr."""
    parser = _parser(make_pipeline)
    options = parser.parse_args(argv)
    try:
        exit_code = options.command(make_pipeline, options)
    except MoistError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Finished tasks are kept: run the same command again to go on from there.\n")
        return 130
    return exit_code or 0


def _parser(make_pipeline: PipelineFactory) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pipeline.py", description="MoIST as a Kubeflow pipeline.", allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", required=True)

    def command(name: str, function: Callable[..., Any], help_: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.", allow_abbrev=False)
        added.set_defaults(command=function)
        return added

    run = command("run", _run, "run the pipeline on this machine")
    run.add_argument("--no-cache", action="store_true", help="run every task, also unchanged ones")
    _add_home(run)
    _add_arguments(run, make_pipeline)

    compile_ = command("compile", _compile, "write the pipeline's YAML for Kubeflow")
    compile_.add_argument("--output", type=Path, default=Path("moist.yaml"), metavar="FILE", help="[moist.yaml]")
    _add_images(compile_)
    _add_arguments(compile_, make_pipeline)

    runs = command("runs", history.runs_command, "list runs, newest first")
    _add_home(runs)

    fetch = command("fetch", history.fetch_command, "download one artifact of a run and check its digest")
    _add_run(fetch)
    fetch.add_argument("artifact", metavar="ARTIFACT", help="task/output, or output where only one task gives it")
    fetch.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="where to put it [.]")

    rerun = command("rerun", history.rerun_command, "run one task again, on an earlier run's artifacts")
    rerun.add_argument("stage", metavar="STAGE", help="the task, e.g. evaluate or train_jointly")
    rerun.add_argument("--from", dest="source", required=True, metavar="RUN", help="the earlier run, or latest")
    rerun.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the task")
    rerun.add_argument("--downstream", action="store_true", help="also every task that depends on it")
    _add_home(rerun)

    lineage = command("lineage", history.lineage_command, "show where every artifact of a run came from")
    _add_run(lineage)
    lineage.add_argument("--html", type=Path, metavar="FILE", help="also write it as a page with a graph")
    lineage.add_argument("--quick", action="store_true", help="compare sizes only, do not read every byte")
    return parser


def _add_home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", type=Path, default=Path(".moist"), metavar="DIR", help="where runs are kept [.moist]")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's id, or latest")
    parser.add_argument(
        "--root",
        metavar="URI",
        help="for a run on a cluster: where its artifacts are, e.g. s3://mlpipeline/v2/artifacts/moist",
    )
    _add_home(parser)


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repository", default="", help="registry and path of the images, e.g. registry/team")
    parser.add_argument("--tag", default=Images().tag, help=f"the images' tag [{Images().tag}]")


def _add_arguments(parser: argparse.ArgumentParser, make_pipeline: PipelineFactory) -> None:
    parser.add_argument("--preset", choices=PRESETS, default="quick", help="a named set of arguments [quick]")
    group = parser.add_argument_group("pipeline arguments", "each overrides the preset")
    for name, spec in parameters_of(make_pipeline()).items():
        kind = spec["parameterType"]
        group.add_argument(f"--{name.replace('_', '-')}", metavar=kind.rsplit("_", 1)[-1], type=_reader(kind))


def _reader(kind: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return READERS[kind](text)
        except (ValueError, KeyError):
            raise argparse.ArgumentTypeError(f"{text!r} is not a {kind.lower().replace('_', ' ')}") from None

    return read


def arguments_of(pipeline: Any, options: argparse.Namespace) -> dict[str, Any]:
    """All of a pipeline's arguments: its defaults, over them the preset's, over them the command line's.

    Raises:
        InputError: for every value that a stage would refuse, before anything runs.
    """
    defaults = defaults_of(pipeline)
    given = {name: getattr(options, name) for name in defaults if getattr(options, name) is not None}
    dataset = given.get("dataset", defaults["dataset"])
    arguments = {**defaults, **preset_arguments(options.preset, dataset), **given}
    check_arguments(pipeline, arguments)
    return arguments


def _run(make_pipeline: PipelineFactory, options: argparse.Namespace) -> None:
    routers = preset_routers(options.preset)
    pipeline = make_pipeline(routers)
    arguments = arguments_of(pipeline, options)
    run_id = new_run_id("moist")
    folder = options.home.resolve() / "runs" / run_id
    with store(options.home.resolve() / "store") as environment:
        run = LocalRun(run_id, Store.of(environment), environment, folder, use_cache=not options.no_cache, say=say)
        run.facts = {"preset": options.preset, "routers": routers}
        say(f"Run {run_id}: preset {options.preset}, data set {arguments['dataset']}")
        run_pipeline(run, pipeline, arguments)
        history.show_results(run, folder)


def _compile(make_pipeline: PipelineFactory, options: argparse.Namespace) -> None:
    pipeline = make_pipeline(preset_routers(options.preset), Images(options.repository, options.tag))
    arguments = arguments_of(pipeline, options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(pipeline, str(options.output), pipeline_parameters=arguments)
    say(f"Wrote {options.output}: {len(pipeline.pipeline_spec.root.dag.tasks)} tasks, preset {options.preset}.")
