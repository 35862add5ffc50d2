"""Flags that the command line of every pipeline has: its arguments, its preset, its images."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moist.runtime.kubeflow import Images
from moist.runtime.pipeline_spec import READERS, parameters_of


def add_arguments(parser: argparse.ArgumentParser, pipeline: Any, presets: Iterable[str]) -> None:
    """One flag for each of the pipeline's parameters, and one that names a set of them."""
    parser.add_argument("--preset", choices=tuple(presets), default="quick", help="a named set of arguments [quick]")
    group = parser.add_argument_group("pipeline arguments", "each overrides the preset; lists: a,b or JSON")
    for name, spec in parameters_of(pipeline).items():
        metavar = spec["parameterType"].rsplit("_", 1)[-1]
        group.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, type=_reader(spec))


def add_images(parser: argparse.ArgumentParser) -> None:
    """Where the images are."""
    parser.add_argument(
        "--repository", default=Images().repository, help=f"registry and path of the images [{Images().repository}]"
    )
    parser.add_argument("--tag", default=Images().tag, help=f"the images' tag [{Images().tag}]")


def add_home(parser: argparse.ArgumentParser) -> None:
    """Where runs are."""
    parser.add_argument("--home", type=Path, default=Path(".moist"), metavar="DIR", help="where runs are kept [.moist]")


def _reader(spec: dict[str, Any]) -> Callable[[str], Any]:
    kind = spec["parameterType"]

    def read(text: str) -> Any:
        try:
            if kind == "LIST" and not text.lstrip().startswith("[") and _holds_words(spec):
                return [int(part) if part.isdecimal() else part for part in map(str.strip, text.split(",")) if part]
            return READERS[kind](text)
        except (ValueError, KeyError):
            raise argparse.ArgumentTypeError(f"{text!r} is not a {kind.lower().replace('_', ' ')}") from None

    return read


def _holds_words(spec: dict[str, Any]) -> bool:
    """Whether a list, by its default, is of numbers or names, so that it can be given divided by commas."""
    return not any(isinstance(item, dict) for item in spec.get("defaultValue", []))
