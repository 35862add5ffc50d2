"""`pipeline.py run`, `compile` and `submit` with `--pipeline NAME`: the command line of the pipelines besides MoIST."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import compiler

from moist.pipelines import mode, sweep
from moist.runtime.flags import add_arguments, add_home, add_images, add_submit, images_of
from moist.runtime.kubeflow import Images
from moist.runtime.pipeline_spec import check_arguments, defaults_of, refuse_downloads
from moist.runtime.run_here import add_run_arguments, finished_run
from moist.runtime.runs import find_artifact
from moist.runtime.store import Store
from moist.runtime.submit import Artifacts, Outcome, submit_pipeline
from moist.runtime.terminal import check_yaml, exit_code_of, say, show, shown

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Pipeline:
    """What the command line needs to know of a pipeline."""

    description: str
    make: Callable[[Images, Arguments], Any]
    """The pipeline, from its images and the arguments that were given, None those that were not."""
    presets: Iterable[str]
    arguments_of: Callable[[str, Arguments], Arguments]
    """The preset's arguments, from its name and those that were given besides."""
    subject: Callable[[Arguments], str]
    """What a run is about, in a few words."""
    last: str
    """The task whose outputs metrics, text and report are the result."""


PIPELINES = {
    "mode": Pipeline(
        "MoDE as a Kubeflow pipeline.",
        mode.pipeline_for,
        mode.PRESETS,
        lambda preset, given: mode.preset_arguments(preset),
        lambda arguments: f"tables {', '.join(map(str, arguments['tables']))}",
        "compare",
    ),
    "sweep": Pipeline(
        "The MoIST paper’s sweeps as a Kubeflow pipeline.",
        lambda images, given: sweep.sweep_pipeline(images),
        sweep.PRESETS,
        lambda preset, given: sweep.preset_arguments(preset, given.get("dataset", "digits")),
        lambda arguments: f"data set {arguments['dataset']}, seeds {', '.join(map(str, arguments['seeds']))}",
        "compare-sweep",
    ),
}


def main(name: str, argv: Sequence[str]) -> int:
    """Run a command of the pipeline of this name; returns its exit code. Errors are one sentence on stderr."""
    options = parser_of(name).parse_args(argv)
    return exit_code_of(lambda: options.command(PIPELINES[name], options))


def choice(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """Which of these pipelines the arguments ask for, and the arguments without that; None if they ask for none."""
    rest = list(argv)
    for index, argument in enumerate(rest):
        given = rest[index + 1 : index + 2] if argument == "--pipeline" else [argument.removeprefix("--pipeline=")]
        if argument.startswith("--pipeline") and given and given[0] in PIPELINES:
            after = index + (2 if argument == "--pipeline" else 1)
            return given[0], rest[:index] + rest[after:]
    return None, rest


def parser_of(name: str) -> argparse.ArgumentParser:
    """The command line of one of these pipelines."""
    pipeline = PIPELINES[name]
    parser = argparse.ArgumentParser(
        prog=f"pipeline.py --pipeline {name}", description=pipeline.description, allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", required=True)

    run = commands.add_parser("run", help="run the pipeline on this machine", allow_abbrev=False)
    add_run_arguments(run)
    add_home(run)
    run.set_defaults(command=_run)

    compile_ = commands.add_parser("compile", help="write the pipeline's YAML for Kubeflow", allow_abbrev=False)
    compile_.add_argument("--output", type=Path, default=Path(f"{name}.yaml"), metavar="FILE", help=f"[{name}.yaml]")
    compile_.set_defaults(command=_compile)

    submit_ = commands.add_parser(
        "submit", help="run the pipeline on a Kubeflow cluster and wait for it", allow_abbrev=False
    )
    add_submit(submit_)
    add_home(submit_)
    submit_.set_defaults(command=_submit)

    made = pipeline.make(Images(), {})
    for each in (run, compile_, submit_):
        add_images(each)
        add_arguments(each, made, pipeline.presets)
    return parser


def _arguments(pipeline: Pipeline, made: Any, options: argparse.Namespace) -> Arguments:
    """All of the pipeline's arguments: its defaults, over them the preset's, over them the command line's."""
    defaults = defaults_of(made)
    given = {name: getattr(options, name) for name in defaults if getattr(options, name) is not None}
    arguments = {**defaults, **pipeline.arguments_of(options.preset, given), **given}
    check_arguments(made, arguments)
    return arguments


def _run(pipeline: Pipeline, options: argparse.Namespace) -> None:
    made = pipeline.make(images_of(options), vars(options))
    arguments = _arguments(pipeline, made, options)
    with finished_run(made, arguments, options, {}, pipeline.subject(arguments)) as (run, folder):
        outputs = run.tasks[pipeline.last]["output"]["artifacts"]
        uris = {name: output["artifacts"][0]["uri"] for name, output in outputs.items()}
        kept = {"report": folder / "report.html", "text": folder / "tables.md"}
        for name, path in kept.items():
            run.store.download(uris[name], path)
        run.store.download(f"{uris['metrics']}/results.json", folder / "results.json")
    show(f"\n{kept['text'].read_text('utf-8')}\nReport: {shown(kept['report'])}")


def _submit(pipeline: Pipeline, options: argparse.Namespace) -> int:
    made = pipeline.make(images_of(options), vars(options))
    return submit_pipeline(made, _arguments(pipeline, made, options), options, outcome(pipeline))


def outcome(pipeline: Pipeline) -> Outcome:
    """What to show of a run on a cluster."""

    def text(store: Store, artifacts: Artifacts) -> str:
        _, _, found = find_artifact(artifacts, f"{pipeline.last}/text")
        return store.get_bytes(found.uri).decode()

    return Outcome(pipeline.last, text)


def _compile(pipeline: Pipeline, options: argparse.Namespace) -> None:
    made = pipeline.make(images_of(options), vars(options))
    arguments = _arguments(pipeline, made, options)
    refuse_downloads(made, arguments, network=True)
    check_yaml(options.output)
    compiler.Compiler().compile(made, str(options.output), pipeline_parameters=arguments)
    say(f"Wrote {options.output}: preset {options.preset}.")
