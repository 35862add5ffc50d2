"""What a changed setting of a rerun is judged by, and what is left of an earlier image's name."""

import functools
import re
from typing import Any

import pytest
import yaml
from conftest import moist_pipeline
from moist.errors import InputError
from moist.presets import preset_arguments
from moist.runtime.artifacts import InputRecord
from moist.runtime.kubeflow import moved_image
from moist.runtime.pipeline_spec import check_arguments, defaults_of, stages_of
from moist.runtime.rerun import planned_rerun, rerun_of

RECORD = InputRecord(uri="s3://moist/somewhere", digest="sha256:" + 64 * "0")


@functools.cache
def best_pipeline() -> Any:
    return moist_pipeline()(("class",))


def checked(stage: str, assignments: list[str], changed: dict[str, dict[str, Any]], **arguments: Any) -> None:
    """As a rerun on this machine, downstream, of MoIST's pipeline with the preset best, is checked before it starts."""
    pipeline = best_pipeline()
    again, own, _ = planned_rerun(
        pipeline,
        stage,
        assignments,
        downstream=True,
        arguments={**defaults_of(pipeline), **preset_arguments("best", "cifar10"), **arguments},
        changed=changed,
        artifacts={task: dict.fromkeys(stage.outputs, RECORD) for task, stage in stages_of(pipeline).items()},
    )
    check_arguments(again.pipeline, own)  # all that a cluster knows when this rerun is rerun


def test_a_changed_setting_is_judged_by_those_that_the_earlier_run_had() -> None:
    checked("train-jointly", ["epochs=0", "second_mirrored=true"], {})
    with pytest.raises(InputError, match="it needs a second_share above 0"):
        checked("train-jointly", ["second_share=0", "second_mirrored=false"], {})


def test_what_another_stage_was_changed_to_counts() -> None:
    with pytest.raises(InputError, match="it is for a single student: give --k 1"):
        checked("cluster-logits", ["k=3"], {})
    with pytest.raises(InputError, match="it is for a single student: give --k 1"):
        checked("train-jointly", ["epochs=1"], {"cluster-logits": {"k": 3}})
    with pytest.raises(InputError, match="it needs validation images"):
        checked("train-jointly", ["second_share=0.2"], {}, validation_fraction=0.0)
    checked(
        "train-jointly", ["second_share=0.2"], {"prepare-data": {"validation_fraction": 0.1}}, validation_fraction=0.0
    )


@pytest.mark.parametrize("task", ["train-teacher", "train-jointly", "evaluate", "prepare-data"])
def test_a_rerun_defines_every_parameter_that_it_reads(task: str) -> None:
    """Also those that only say on which nodes its pods may run: Kubeflow's driver fails for want of them."""
    pipeline = best_pipeline()
    artifacts = {name: dict.fromkeys(stage.outputs, RECORD) for name, stage in stages_of(pipeline).items()}
    spec, platform = yaml.safe_load_all(rerun_of(pipeline, [task], {}, artifacts).yaml)
    read = set(re.findall(r"componentInputParameter': '(\w+)'", str(platform) + str(spec["root"]["dag"])))
    assert read == set(spec["root"].get("inputDefinitions", {}).get("parameters", {}))
    assert ("tolerations" in read) == (task != "prepare-data")


def test_of_an_image_only_what_is_named_changes() -> None:
    digest = "registry.example:5000/team/moist-slim@sha256:" + 64 * "a"
    assert moved_image(digest, None, "2") == "registry.example:5000/team/moist-slim:2"
    assert moved_image(digest, "mirror.example", None) == digest.replace("registry.example:5000/team", "mirror.example")
    assert moved_image("moist-slim", None, None) == "moist-slim"
