"""The compiled sweep: pinned by a golden file, planned point by point; mistakes are found before anything runs."""

import functools
from typing import Any

import pytest
import yaml
from conftest import ROOT, run_command
from moist.errors import InputError
from moist.pipelines.sweep import PRESETS, WIDTHS, preset_arguments, sweep_pipeline
from moist.runtime.command_line import parser_for
from moist.runtime.loops import planned_tasks
from moist.runtime.pipeline_spec import check_arguments, defaults_of
from small_stages.small_pipeline import small_pipeline

GOLDEN = ROOT / "tests" / "pipeline" / "golden" / "sweep.yaml"


@functools.cache
def pipeline() -> Any:
    return sweep_pipeline()


def arguments(**changes: Any) -> dict[str, Any]:
    return {**defaults_of(pipeline()), **changes}


def planned(**changes: Any) -> dict[str, dict[str, Any]]:
    return {task.name: task.values for task in planned_tasks(pipeline(), arguments(**changes))}


def test_the_compiled_pipeline_is_the_golden_one(tmp_path: Any) -> None:
    """After a change that is meant: `compile --pipeline sweep --output tests/pipeline/golden/sweep.yaml`."""
    done = run_command("compile", "--pipeline", "sweep", "--output", str(tmp_path / "sweep.yaml"))
    assert done.returncode == 0, done.stderr
    compiled, golden = (list(yaml.safe_load_all(path.read_text())) for path in (tmp_path / "sweep.yaml", GOLDEN))
    assert compiled == golden


def test_a_sweep_that_argo_may_not_hold_is_said_when_it_is_compiled(tmp_path: Any) -> None:
    for seeds, said in (("0,1,2", True), ("0", False)):
        done = run_command("compile", "--pipeline", "sweep", "--seeds", seeds, "--output", str(tmp_path / "sweep.yaml"))
        assert done.returncode == 0, done.stderr
        assert ("Argo's record" in done.stderr) == said


def test_a_task_in_a_loop_is_given_every_parameter_that_it_takes() -> None:
    """kfp compiles a task whose GPU count never reaches its loop; it then fails on a cluster and in kfp.local."""
    spec, _ = yaml.safe_load_all(GOLDEN.read_text())
    dags = [component["dag"] for component in spec["components"].values() if "dag" in component]
    assert len(dags) == 5
    for component in spec["components"].values():
        given = component.get("inputDefinitions", {}).get("parameters", {})
        for name, task in component.get("dag", {}).get("tasks", {}).items():
            for taken in task.get("inputs", {}).get("parameters", {}).values():
                source = taken.get("componentInputParameter")
                assert source is None or source in given, f"{name} takes {source}"


def test_one_teacher_and_for_every_seed_one_student_a_width() -> None:
    found = planned(
        seeds=[3, 5], other_k=[2, 6], other_widths=[16, 32, 64], other_routers=["transformer"], linear_sizes=[8]
    )
    counts = {name: len([task for task in found if task.rsplit("-", 1)[0] == name or task == name]) for name in (
        "train-teacher", "cluster-logits", "distill-student", "compare-sweep")}  # fmt: skip
    assert counts == {"train-teacher": 1, "cluster-logits": 1, "distill-student": 2, "compare-sweep": 1}
    assert [found[f"distill-by-width-1-{i}"]["width"] for i in range(3)] == [16, 32, 64]
    assert [found[f"cluster-by-k-0-{i}"]["k"] for i in range(2)] == [2, 6]
    assert {found[f"train-by-k-{i}-0"]["seed"] for i in range(2)} == {3, 5}
    assert (found["router-by-kind-0-0"]["architecture"], found["router-by-size-0-0"]["architecture"]) == (
        "transformer",
        "linear",
    )
    assert found["router-by-size-1-0"]["hidden"] == 8
    assert {found[f"evaluate-{i}"]["seed"] for i in range(2)} == {3, 5}


def test_the_papers_sweeps_are_the_default_and_the_paper_preset() -> None:
    for preset in ({}, preset_arguments("paper", "cifar10")):
        given = arguments(**preset)
        assert sorted([given["k"], *given["other_k"]]) == [2, 3, 4, 5, 6]
        assert sorted([given["width"], *given["other_widths"]]) == [2**n for n in range(4, 14)]
        assert {given["router"], *given["other_routers"], "linear"} == {"cnn", "transformer", "linear"}
        assert len(given["linear_sizes"]) > 2
        assert len(given["seeds"]) > 1
    assert len(WIDTHS) == 9


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_allowed(preset: str, dataset: str) -> None:
    given = preset_arguments(preset, dataset)
    check_arguments(pipeline(), arguments(**given, source="bundled" if dataset == "digits" else "download"))
    assert given["dataset"] == dataset
    assert given.keys() <= arguments().keys()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"other_k": [2, 1]}, "Setting k=1 is not allowed"),
        ({"other_widths": [16, 0]}, "Setting width=0 is not allowed"),
        ({"other_routers": ["mlp"]}, "Setting architecture='mlp' is not allowed"),
        ({"linear_sizes": [1]}, "Setting hidden=1 is not allowed"),
        ({"seeds": [0, -1]}, "Setting seed=-1 is not allowed"),
        ({"router": "gate"}, "Setting router='gate' is not allowed"),
    ],
)
def test_a_mistake_in_any_point_is_found_before_anything_runs(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        check_arguments(pipeline(), arguments(**changes))
    assert said in str(caught.value)


def test_lists_of_numbers_are_given_divided_by_commas() -> None:
    given = ["run", "--pipeline", "sweep", "--seeds", "0,1, 2", "--other-widths=[16, 32]"]
    options = parser_for(small_pipeline, given).parse_args(given)
    assert (options.seeds, options.other_widths) == ([0, 1, 2], [16, 32])
