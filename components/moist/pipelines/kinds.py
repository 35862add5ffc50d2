"""What the command line needs to know of each pipeline: MoIST's, MoDE's, and the sweeps."""

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moist.pipelines import mode, sweep
from moist.presets import PRESETS, ROUTERS, chosen_routers, preset_arguments
from moist.runtime.kubeflow import Images
from moist.runtime.outcome import TABLE, Outcome, ending_with
from moist.runtime.pipeline_spec import check_arguments, defaults_of

Arguments = dict[str, Any]
Given = Mapping[str, Any]
"""What stands on the command line: None, or absent, what does not."""


@dataclass(frozen=True)
class Pipeline:
    """One kind of pipeline."""

    description: str
    make: Callable[[Images, Given], Any]
    presets: Iterable[str]
    preset_arguments: Callable[[str, Given], Arguments]
    """A preset's arguments, from its name and what was given besides."""
    subject: Callable[[Arguments], str]
    """What a run is about, in a few words."""
    outcome: Outcome
    """What to show of a run."""
    facts: Callable[[Given], Arguments] = lambda given: {}
    """What else belongs into a run's record."""
    flags: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Flags besides those of the pipeline's arguments, as argparse takes them."""

    def arguments(self, made: Any, options: argparse.Namespace) -> Arguments:
        """All arguments: the pipeline's defaults, over them the preset's, over them the command line's.

        Raises:
            InputError: for every value that a stage would refuse, before anything runs.
        """
        defaults, given = defaults_of(made), vars(options)
        chosen = {name: given[name] for name in defaults if given.get(name) is not None}
        named = self.preset_arguments(options.preset, chosen)
        arguments = {**defaults, **{name: value for name, value in named.items() if name in defaults}, **chosen}
        check_arguments(made, arguments)
        return arguments


def pipelines(make_moist: Callable[..., Any]) -> dict[str, Pipeline]:
    """All, by name; `make_moist` makes MoIST's from routers and images."""
    moist = Pipeline(
        description="MoIST as a Kubeflow pipeline.",
        make=lambda images, given: make_moist(routers_of(given), images),
        presets=PRESETS,
        preset_arguments=lambda preset, given: preset_arguments(preset, given.get("dataset", "digits")),
        subject=lambda arguments: f"data set {arguments['dataset']}",
        outcome=TABLE,
        facts=lambda given: {"routers": routers_of(given)},
        flags={
            "--router": {"choices": ROUTERS, "help": "train a mixture with this router instead of the preset's routers"}
        },
    )
    return {"moist": moist, **OTHERS}


def routers_of(given: Given) -> tuple[str, ...]:
    """The routers that are asked for; a pipeline without shared layers has no flag for them."""
    return chosen_routers(given.get("preset", "quick"), given.get("router"), given.get("shared_layers"))


OTHERS = {
    "mode": Pipeline(
        description="MoDE as a Kubeflow pipeline.",
        make=mode.pipeline_for,
        presets=mode.PRESETS,
        preset_arguments=lambda preset, given: mode.preset_arguments(preset),
        subject=lambda arguments: f"tables {', '.join(map(str, arguments['tables']))}",
        outcome=ending_with("compare"),
    ),
    "sweep": Pipeline(
        description="The MoIST paper’s sweeps as a Kubeflow pipeline.",
        make=lambda images, given: sweep.sweep_pipeline(images),
        presets=sweep.PRESETS,
        preset_arguments=lambda preset, given: sweep.preset_arguments(preset, given.get("dataset", "digits")),
        subject=lambda arguments: f"data set {arguments['dataset']}, seeds {', '.join(map(str, arguments['seeds']))}",
        outcome=ending_with("compare-sweep"),
    ),
}
