"""Flags that the command line of every pipeline has: its arguments, its preset, its images."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moist.errors import InputError
from moist.runtime import cluster
from moist.runtime.kubeflow import IMAGES, Images
from moist.runtime.pipeline_spec import READERS, parameters_of
from moist.runtime.scheduling import SIZES


def add_arguments(parser: argparse.ArgumentParser, pipeline: Any, presets: Iterable[str]) -> None:
    """One flag for each of the pipeline's parameters, and one that names a set of them."""
    parser.add_argument("--preset", choices=tuple(presets), default="quick", help="a named set of arguments [quick]")
    group = parser.add_argument_group("pipeline arguments", "each overrides the preset; lists: a,b or JSON")
    for name, spec in parameters_of(pipeline).items():
        _add_argument(group, name, spec)


def add_sizes(parser: argparse.ArgumentParser, pipeline: Any) -> None:
    """Flags for the pipeline's parameters that say what a training task asks for."""
    group = parser.add_argument_group("resources of training tasks", "each instead of the earlier run's")
    specs = parameters_of(pipeline)
    for name in SIZES:
        if name in specs:
            _add_argument(group, name, specs[name])
    _add_gpus(group)


def _add_argument(group: Any, name: str, spec: dict[str, Any]) -> None:
    metavar = spec["parameterType"].rsplit("_", 1)[-1]
    switch: dict[str, Any] = {"nargs": "?", "const": "true"} if spec["parameterType"] == "BOOLEAN" else {}
    group.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, type=_reader(spec), **switch)


def _add_gpus(parser: Any) -> None:
    parser.add_argument("--gpus", dest="gpu_count", type=_count, metavar="N", help="GPUs a training task; 0: on CPUs")


def add_images(parser: argparse.ArgumentParser, otherwise: str | None = None) -> None:
    """Where the images are; `otherwise` says which they are if none of these flags is given."""
    group = parser.add_argument_group("images")
    group.add_argument(
        "--repository", metavar="PATH", help=f"registry and path of both images [{otherwise or Images().repository}]"
    )
    group.add_argument("--tag", help=f"tag of both images [{otherwise or Images().tag}]")
    for kind in IMAGES:
        group.add_argument(
            f"--{kind}-image", metavar="REF", help=f"the {kind} image in full, best by digest: PATH@sha256:..."
        )


def images_of(options: argparse.Namespace) -> Images:
    """The images that the command line names.

    Raises:
        InputError: the tag is a digest, which cannot be both images'.
    """
    if options.tag and ":" in options.tag:
        raise InputError(
            f"--tag {options.tag} is a digest, and each image has its own: give --slim-image PATH@sha256:... and "
            "--train-image PATH@sha256:... instead."
        )
    default = Images()
    return Images(
        options.repository or default.repository,
        options.tag or default.tag,
        options.slim_image or "",
        options.train_image or "",
    )


def add_home(parser: argparse.ArgumentParser) -> None:
    """Where runs are."""
    parser.add_argument("--home", type=Path, default=Path(".moist"), metavar="DIR", help="where runs are kept [.moist]")


def add_submit(parser: argparse.ArgumentParser) -> None:
    """What `submit` takes besides the pipeline's arguments."""
    add_cluster(parser, required=True)
    add_submission(parser)
    parser.add_argument("--no-cache", action="store_true", help="run every task, also unchanged ones")
    _add_gpus(parser)


def add_cluster(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Never a credential: those come from the environment or a file."""
    group = parser.add_argument_group(
        "cluster",
        f"credentials come from ${cluster.TOKEN} (a bearer token), ${cluster.COOKIE}, or --token-file",
    )
    default = f" [${cluster.HOST}]" if required else "; without it: this machine"
    group.add_argument(
        "--host", metavar="URL", help=f"address of Kubeflow Pipelines, e.g. http://localhost:8080{default}"
    )
    group.add_argument("--namespace", help="your namespace, in a Kubeflow with users")
    group.add_argument("--token-file", type=Path, metavar="FILE", help="a bearer token; read again as it changes")


def add_submission(parser: argparse.ArgumentParser) -> None:
    """How Kubeflow shall run what is submitted."""
    group = parser.add_argument_group("submission")
    group.add_argument("--experiment", default="moist", help="[moist]")
    group.add_argument("--service-account", help="the account of the run's pods, e.g. moist-runner")
    group.add_argument("--pipeline-root", metavar="URI", help="where artifacts go [what the cluster is set to]")
    group.add_argument("--keep-as", metavar="NAME", help="also keep the pipeline in Kubeflow, a version each time")
    group.add_argument("--no-wait", action="store_true", help="print the run's id and leave")


def for_a_cluster_only(options: argparse.Namespace) -> None:
    """Raises InputError for a flag that would do nothing, since --host is not there."""
    of_cluster = ("namespace", "token_file", "service_account", "pipeline_root", "keep_as", "no_wait", "root")
    for name in (*of_cluster, "repository", "tag", "slim_image", "train_image", *SIZES):
        if getattr(options, name, None):
            raise InputError(f"--{name.replace('_', '-')} is for a cluster: give --host, too, or leave it out.")


def _count(text: str) -> str:
    if not text.isdecimal() or int(text) > 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of GPUs from 0 to 1024")
    return str(int(text))


def _reader(spec: dict[str, Any]) -> Callable[[str], Any]:
    kind = spec["parameterType"]

    def read(text: str) -> Any:
        try:
            if kind == "LIST" and not text.lstrip().startswith("[") and _holds_words(spec):
                parts = [part for part in map(str.strip, text.split(",")) if part]
                return [int(part) if part.isdecimal() and _holds_numbers(spec) else part for part in parts]
            return READERS[kind](text)
        except (ValueError, KeyError):
            shown = repr(text) if "@" not in text else "what was given"  # it may hold credentials
            raise argparse.ArgumentTypeError(f"{shown} is not a {kind.lower().replace('_', ' ')}") from None

    return read


def _holds_numbers(spec: dict[str, Any]) -> bool:
    """Whether a list, by its default, is of numbers: what looks like one may be the name of a table."""
    return any(isinstance(item, float) for item in spec.get("defaultValue", []))


def _holds_words(spec: dict[str, Any]) -> bool:
    """Whether a list, by its default, is of numbers or names, so that it can be given divided by commas."""
    return not any(isinstance(item, dict) for item in spec.get("defaultValue", []))
