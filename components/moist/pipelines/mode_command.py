"""`pipeline.py run --pipeline mode` and `compile --pipeline mode`: the command line of the MoDE pipeline."""

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kfp import compiler

from moist.errors import MoistError
from moist.pipelines.mode import PRESETS, mode_pipeline, preset_arguments
from moist.runtime.kubeflow import Images
from moist.runtime.pipeline_spec import READERS, check_arguments, defaults_of, parameters_of
from moist.runtime.run_here import add_run_arguments, finished_run
from moist.runtime.terminal import say, show, shown


def main(argv: Sequence[str]) -> int:
    """Run a command, given without `--pipeline mode`; returns its exit code. Errors are one sentence on stderr."""
    options = _parser().parse_args(argv)
    try:
        options.command(options)
    except MoistError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Finished tasks are kept: run the same command again to go on from there.\n")
        return 130
    return 0


def without_choice(argv: Sequence[str]) -> list[str] | None:
    """The arguments without `--pipeline mode`; None if they do not ask for this pipeline."""
    rest = list(argv)
    if "--pipeline=mode" in rest:
        rest.remove("--pipeline=mode")
        return rest
    for index, (flag, value) in enumerate(itertools.pairwise(rest)):
        if (flag, value) == ("--pipeline", "mode"):
            return rest[:index] + rest[index + 2 :]
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pipeline.py --pipeline mode",
        description="MoDE as a Kubeflow pipeline. submit and rerun know the moist pipeline only: to run this one on a "
        "cluster, compile it and upload the YAML in Kubeflow's UI.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", required=True)

    run = commands.add_parser("run", help="run the pipeline on this machine", allow_abbrev=False)
    add_run_arguments(run)
    run.add_argument("--home", type=Path, default=Path(".moist"), metavar="DIR", help="where runs are kept [.moist]")
    run.set_defaults(command=_run)

    compile_ = commands.add_parser("compile", help="write the pipeline's YAML for Kubeflow", allow_abbrev=False)
    compile_.add_argument("--output", type=Path, default=Path("mode.yaml"), metavar="FILE", help="[mode.yaml]")
    compile_.set_defaults(command=_compile)

    parameters, images = parameters_of(mode_pipeline()), Images()
    for each in (run, compile_):
        each.add_argument("--repository", default=images.repository, help=f"of the images [{images.repository}]")
        each.add_argument("--tag", default=images.tag, help=f"the images' tag [{images.tag}]")
        each.add_argument("--preset", choices=PRESETS, default="quick", help="a named set of arguments [quick]")
        group = each.add_argument_group("pipeline arguments", "each overrides the preset; lists as JSON")
        for name, spec in parameters.items():
            kind = spec["parameterType"]
            reader = _words if name == "tables" else _reader(kind)
            group.add_argument(f"--{name.replace('_', '-')}", metavar=kind.rsplit("_", 1)[-1], type=reader)
    return parser


def _words(text: str) -> Any:
    """A list as JSON, or plain words divided by commas."""
    return READERS["LIST"](text) if text.lstrip().startswith("[") else [part.strip() for part in text.split(",")]


def _reader(kind: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return READERS[kind](text)
        except (ValueError, KeyError):
            raise argparse.ArgumentTypeError(f"{text!r} is not a {kind.lower().replace('_', ' ')}") from None

    return read


def _arguments(pipeline: Any, options: argparse.Namespace) -> dict[str, Any]:
    """All of the pipeline's arguments: its defaults, over them the preset's, over them the command line's."""
    defaults = defaults_of(pipeline)
    given = {name: getattr(options, name) for name in defaults if getattr(options, name) is not None}
    arguments = {**defaults, **preset_arguments(options.preset), **given}
    check_arguments(pipeline, arguments)
    return arguments


def _run(options: argparse.Namespace) -> None:
    pipeline = mode_pipeline(Images(options.repository, options.tag))
    arguments = _arguments(pipeline, options)
    what = f"tables {', '.join(map(str, arguments['tables']))}"
    with finished_run(pipeline, arguments, options, {}, what) as (run, folder):
        outputs = run.tasks["compare"]["output"]["artifacts"]
        uris = {name: output["artifacts"][0]["uri"] for name, output in outputs.items()}
        kept = {"report": folder / "report.html", "text": folder / "tables.md"}
        for name, path in kept.items():
            run.store.download(uris[name], path)
        run.store.download(f"{uris['metrics']}/results.json", folder / "results.json")
    show(f"\n{kept['text'].read_text('utf-8')}\nReport: {shown(kept['report'])}")


def _compile(options: argparse.Namespace) -> None:
    pipeline = mode_pipeline(Images(options.repository, options.tag))
    arguments = _arguments(pipeline, options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(pipeline, str(options.output), pipeline_parameters=arguments)
    say(f"Wrote {options.output}: preset {options.preset}.")
