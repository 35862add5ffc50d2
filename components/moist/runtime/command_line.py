"""The pipeline's command line: compile it, run it here, and look at what came out."""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kfp import compiler

from moist.errors import InputError, MoistError
from moist.presets import PRESETS, preset_arguments, preset_routers
from moist.reports.results import Results
from moist.reports.table import text_table
from moist.runtime.kubeflow import Images
from moist.runtime.local_runner import LocalRun, new_run_id, run_pipeline
from moist.runtime.local_store import store
from moist.runtime.stage import parse_settings
from moist.runtime.store import Store
from moist.runtime.task import settings_values

PipelineFactory = Callable[..., Any]
PARSERS: dict[str, Callable[[str], Any]] = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "STRING": str,
    "BOOLEAN": lambda text: {"true": True, "false": False}[text.lower()],
    "STRUCT": json.loads,
    "LIST": json.loads,
}


def main(make_pipeline: PipelineFactory, argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. Errors are one sentence on stderr."""
    parser = _parser(make_pipeline)
    options = parser.parse_args(argv)
    try:
        options.command(make_pipeline, options)
    except MoistError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Finished tasks are kept: run the same command again to go on from there.\n")
        return 130
    return 0


def _parser(make_pipeline: PipelineFactory) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pipeline.py", description="MoIST as a Kubeflow pipeline.", allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", required=True)

    run = commands.add_parser("run", help="run the pipeline on this machine", allow_abbrev=False)
    run.add_argument("--no-cache", action="store_true", help="run every task, also unchanged ones")
    run.add_argument("--home", type=Path, default=Path(".moist"), metavar="DIR", help="where runs are kept [.moist]")
    _add_arguments(run, make_pipeline)
    run.set_defaults(command=_run)

    compile_ = commands.add_parser("compile", help="write the pipeline's YAML for Kubeflow", allow_abbrev=False)
    compile_.add_argument("--output", type=Path, default=Path("moist.yaml"), metavar="FILE", help="[moist.yaml]")
    compile_.add_argument("--repository", default="", help="registry and path of the images, e.g. registry/team")
    compile_.add_argument("--tag", default=Images().tag, help=f"the images' tag [{Images().tag}]")
    _add_arguments(compile_, make_pipeline)
    compile_.set_defaults(command=_compile)
    return parser


def _add_arguments(parser: argparse.ArgumentParser, make_pipeline: PipelineFactory) -> None:
    parser.add_argument("--preset", choices=PRESETS, default="quick", help="a named set of arguments [quick]")
    group = parser.add_argument_group("pipeline arguments", "each overrides the preset")
    for name, spec in _parameters(make_pipeline()).items():
        kind = spec["parameterType"]
        group.add_argument(f"--{name.replace('_', '-')}", metavar=kind.rsplit("_", 1)[-1], type=_reader(kind))


def _reader(kind: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return PARSERS[kind](text)
        except (ValueError, KeyError):
            raise argparse.ArgumentTypeError(f"{text!r} is not a {kind.lower().replace('_', ' ')}") from None

    return read


def _parameters(pipeline: Any) -> dict[str, Any]:
    """Name, type and default of a pipeline's parameters."""
    from google.protobuf.json_format import MessageToDict

    definitions = pipeline.pipeline_spec.root.input_definitions.parameters
    return {name: MessageToDict(spec) for name, spec in definitions.items()}


def arguments_of(pipeline: Any, options: argparse.Namespace) -> dict[str, Any]:
    """All of a pipeline's arguments: its defaults, over them the preset's, over them the command line's.

    Raises:
        InputError: for every value that a stage would refuse, before anything runs.
    """
    parameters = _parameters(pipeline)
    given = {name: getattr(options, name) for name in parameters if getattr(options, name) is not None}
    defaults = {name: _default(spec) for name, spec in parameters.items()}
    dataset = given.get("dataset", defaults["dataset"])
    arguments = {**defaults, **preset_arguments(options.preset, dataset), **given}
    check_arguments(pipeline, arguments)
    return arguments


def _default(spec: dict[str, Any]) -> Any:
    value = spec.get("defaultValue")
    return int(value) if spec["parameterType"] == "NUMBER_INTEGER" and value is not None else value


def check_arguments(pipeline: Any, arguments: dict[str, Any]) -> None:
    """Validate every task's settings as the stages will, so that no stage runs before a later one's mistake is found.

    Raises:
        InputError: with one sentence for every setting that is not allowed.
    """
    problems: dict[str, None] = {}
    spec = pipeline.pipeline_spec
    for task in spec.root.dag.tasks.values():
        component = spec.components[task.component_ref.name]
        command = spec.deployment_spec["executors"][component.executor_label]["container"]["command"]
        stage = importlib.import_module(str(command[2]).removesuffix(".program") + ".settings").STAGE
        sources = task.inputs.parameters.items()
        values = {
            name: arguments[source.component_input_parameter]
            for name, source in sources
            if source.component_input_parameter
        }
        try:
            parse_settings(stage.settings, settings_values(values))
        except InputError as error:
            problems[str(error)] = None
    if problems:
        raise InputError("\n".join(problems))


def _run(make_pipeline: PipelineFactory, options: argparse.Namespace) -> None:
    pipeline = make_pipeline(preset_routers(options.preset))
    arguments = arguments_of(pipeline, options)
    run_id = new_run_id("moist")
    folder = options.home.resolve() / "runs" / run_id
    with store(options.home.resolve() / "store") as environment:
        run = LocalRun(run_id, Store.of(environment), environment, folder, use_cache=not options.no_cache, say=_say)
        _say(f"Run {run_id}: preset {options.preset}, data set {arguments['dataset']}")
        run_pipeline(run, pipeline, arguments)
        outputs = run.tasks["evaluate"]["output"]["artifacts"]
        uris = {name: output["artifacts"][0]["uri"] for name, output in outputs.items()}
        report, figures = folder / "report.html", folder / "results.json"
        run.store.download(uris["report"], report)
        run.store.download(f"{uris['metrics']}/results.json", figures)
    results = Results.model_validate_json(figures.read_bytes())
    sys.stdout.write(f"\n{text_table(results)}\n\nReport: {_shown(report)}\n")


def _compile(make_pipeline: PipelineFactory, options: argparse.Namespace) -> None:
    pipeline = make_pipeline(preset_routers(options.preset), Images(options.repository, options.tag))
    arguments = arguments_of(pipeline, options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(pipeline, str(options.output), pipeline_parameters=arguments)
    _say(f"Wrote {options.output}: {len(pipeline.pipeline_spec.root.dag.tasks)} tasks, preset {options.preset}.")


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
