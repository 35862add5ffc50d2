"""The compiled MoDE pipeline: pinned by a golden file, and what its loops make of their items."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, run_command
from moist.errors import InputError
from moist.mode.table_mixtures import TableModel
from moist.mode.table_training import TableTraining
from moist.pipelines.mode import PRESETS, image_set, mode_pipeline, pipeline_for, preset_arguments, variant
from moist.runtime.command_line import parser_for
from moist.runtime.kubeflow import Images
from moist.runtime.loops import planned_tasks
from moist.runtime.pipeline_spec import check_arguments, defaults_of
from moist.runtime.task import local_task_name
from moist.stages.train_mixture.settings import Settings
from small_stages.small_pipeline import small_pipeline

GOLDEN = ROOT / "tests" / "pipeline" / "golden" / "mode.yaml"


def arguments(**changes: Any) -> dict[str, Any]:
    return {**defaults_of(mode_pipeline()), **changes}


def test_the_compiled_pipeline_is_the_golden_one(tmp_path: Path) -> None:
    """After a change that is meant: `pipeline.py compile --pipeline mode --output tests/pipeline/golden/mode.yaml`."""
    done = run_command("compile", "--pipeline", "mode", "--output", str(tmp_path / "mode.yaml"))
    assert done.returncode == 0, done.stderr
    compiled, golden = (list(yaml.safe_load_all(path.read_text())) for path in (tmp_path / "mode.yaml", GOLDEN))
    assert compiled == golden


def test_each_table_and_variant_is_planned_with_its_own_settings() -> None:
    pictures = [image_set("digits"), image_set("mnist", "/data/mnist")]
    mixtures = [variant("single", "0"), variant("dense-4", "0, 1")]
    given = arguments(tables=["a.csv", "b.csv"], variants=mixtures, images=pictures, runs=3, image_runs=4)
    planned = {task.name: task.values for task in planned_tasks(mode_pipeline(), given)}
    assert set(planned) == {
        *("prepare-table-0", "prepare-table-1", "probe-experts-0", "probe-experts-1", "compare"),
        *("train-mixture-0-0", "train-mixture-0-1", "train-mixture-1-0", "train-mixture-1-1"),
        *("prepare-data-0", "prepare-data-1", "train-vision-mixture-0", "train-vision-mixture-1"),
    }
    assert planned["prepare-table-1"]["source"] == "b.csv"
    assert (planned["train-mixture-1-1"]["model"], planned["train-mixture-1-1"]["alphas"]) == ("dense-4", "0, 1")
    assert planned["train-mixture-1-0"]["runs"] == 3
    assert (planned["prepare-data-1"]["name"], planned["prepare-data-1"]["source"]) == ("mnist", "/data/mnist")
    assert planned["train-vision-mixture-1"]["runs"] == 4


def test_names_of_iterations_differ_and_others_stay() -> None:
    root = Path("/runs/mode-20260101/mode-2026-01-01")
    inside = root / "for-loop-1-iteration-0" / "for-loop-2-iteration-11" / "train-mixture" / "executor_output.json"
    assert local_task_name(inside) == "train-mixture-0-11"
    assert local_task_name(root / "train-teacher" / "executor_output.json") == "train-teacher"


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_allowed(preset: str) -> None:
    check_arguments(mode_pipeline(), arguments(**preset_arguments(preset)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, "Setting epochs=0 is not allowed"),
        ({"variants": [variant("single", "0"), variant("dense")]}, "Setting model='dense' is not allowed"),
        ({"variants": [variant("sparse-2-3")]}, "3 of 2 experts cannot be chosen"),
        ({"variants": [variant("dense-2", "0, -1")]}, "Setting alphas='0, -1' is not allowed"),
        ({"variants": [variant("dense-2", "0, 0.0")]}, "one is there twice"),
        ({"variants": [variant("single", "0, 1")]}, "it has no peers"),
        ({"candidates": "nan"}, "Setting candidates='nan' is not allowed"),
        ({"image_alphas": "0, 1"}, "Setting alphas='0, 1' is not allowed: each must be a number above 0"),
        ({"image_network": "vgg"}, "Setting network='vgg' is not allowed"),
        ({"tables": ["digits", ""]}, "Setting source='' is not allowed"),
        ({"tables": []}, "The list tables is empty"),
        ({"tables": ["digits", "a.csv", "digits"]}, 'The list tables has "digits" twice'),
        ({"variants": []}, "The list variants is empty"),
        ({"images": [1]}, '1 is not a structure with "dataset" in it'),
    ],
)
def test_a_mistake_in_any_iteration_is_found_before_anything_runs(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        check_arguments(mode_pipeline(), arguments(**changes))
    assert said in str(caught.value)


def test_the_stage_trains_as_the_library_does_by_default() -> None:
    settings = Settings()
    for name, field in TableTraining.model_fields.items():
        assert getattr(settings, name) == field.default, name
    assert settings.hidden == TableModel().hidden


@pytest.mark.parametrize(
    ("model", "gate", "experts", "top_k"),
    [("single", "single", 1, 1), ("dense-8", "dense", 8, 8), ("sparse-10-2", "sparse", 10, 2)],
)
def test_a_models_name_says_what_it_is(model: str, gate: str, experts: int, top_k: int) -> None:
    settings = Settings(model=model, alphas="0")
    assert (settings.gate, settings.experts, settings.top_k) == (gate, experts, top_k)


@pytest.mark.parametrize(
    ("given", "described"),
    [
        (["run", "--pipeline", "mode", "--runs", "3"], "MoDE"),
        (["compile", "--pipeline=mode"], "MoDE"),
        (["--pipeline=sweep", "run"], "sweeps"),
        (["run", "--pipeline", "moist"], "MoIST as"),
        (["run", "--home", "mode"], "MoIST as"),
        (["run"], "MoIST as"),
    ],
)
def test_each_pipeline_has_flags_of_its_own(given: list[str], described: str) -> None:
    parser = parser_for(small_pipeline, given)
    assert described in (parser.description or "")
    parser.parse_args(given)


@pytest.mark.parametrize(
    "given", [["run", "--pipeline"], ["run", "--pipeline", "other"], ["runs", "--pipeline", "mode"]]
)
def test_a_pipeline_that_is_not_there_is_refused(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser_for(small_pipeline, given).parse_args(given)
    assert "pipeline" in capsys.readouterr().err.splitlines()[-1]


def parsed(pipeline: str, *flags: str) -> argparse.Namespace:
    given = ["run", "--pipeline", pipeline, *flags]
    return parser_for(small_pipeline, given).parse_args(given)


@pytest.mark.parametrize(
    ("text", "value"),
    [("digits", ["digits"]), ("a.csv, b.csv", ["a.csv", "b.csv"]), ('["a,b.csv"]', ["a,b.csv"]), ("", [])],
)
def test_a_list_is_json_or_words_divided_by_commas(text: str, value: list[str]) -> None:
    assert parsed("mode", f"--tables={text}").tables == value


def test_a_list_of_structures_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("mode", "--variants", "dense-2")
    assert "'dense-2' is not a list" in capsys.readouterr().err


def test_an_openml_number_is_the_name_of_a_table() -> None:
    assert parsed("mode", "--tables", "300,digits").tables == ["300", "digits"]
    assert parsed("sweep", "--other-k", "2,3").other_k == [2, 3]


def test_images_are_left_out_where_none_are_named() -> None:
    without = arguments(images=[])
    planned = {task.name for task in planned_tasks(pipeline_for(Images(), without), without)}
    assert not any("vision" in name or "data" in name for name in planned)
    assert any("compare" in name for name in planned)


def test_translation_is_there_when_its_files_are_named() -> None:
    given, translating = (
        arguments(text_source="a.en", text_target="a.de", text_epochs=3),
        mode_pipeline(translation=True),
    )
    assert not any("translator" in task.name for task in planned_tasks(mode_pipeline(), given))
    planned = {task.name: task.values for task in planned_tasks(translating, given)}
    chosen = [planned[f"train-translator-{i}"] for i in range(3)]
    assert [(one["model"], one["alpha"]) for one in chosen] == [("dense-2", "1"), ("dense-2", "0"), ("single", "0")]
    assert {(one["source"], one["target"], one["epochs"]) for one in chosen} == {("a.en", "a.de", 3)}
    check_arguments(translating, given)
    with pytest.raises(InputError, match="Setting alpha='-1' is not allowed"):
        check_arguments(translating, {**given, "translators": [{"model": "dense-2", "alpha": "-1"}]})


def test_one_text_file_alone_is_refused(tmp_path: Path) -> None:
    done = run_command("compile", "--pipeline", "mode", "--text-source", "a.en", "--output", str(tmp_path / "x.yaml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--text-source and --text-target go together" in done.stderr
