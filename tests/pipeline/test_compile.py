"""The compiled pipeline: pinned by a golden file, loadable by kfp, and in agreement with the stages' settings."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from conftest import ROOT, run_command
from kfp import components
from kfp.pipeline_spec.pipeline_spec_pb2 import ParameterType
from moist.runtime.scheduling import ENVIRONMENT
from moist.runtime.stage import Stage
from moist.runtime.task import parse_task, settings_values

GOLDEN = ROOT / "tests" / "pipeline" / "golden" / "moist.yaml"
STAGES = sorted(path.parent.name for path in (ROOT / "components" / "moist" / "stages").glob("*/component.py"))
TYPES = {int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", str: "STRING", bool: "BOOLEAN"}


def test_there_are_stages() -> None:
    assert len(STAGES) >= 7


def test_the_compiled_pipeline_is_the_golden_one(tmp_path: Path) -> None:
    """After a change that is meant: `python pipeline.py compile --output tests/pipeline/golden/moist.yaml`."""
    done = run_command("compile", "--output", str(tmp_path / "moist.yaml"))
    assert done.returncode == 0, done.stderr
    # Parsed, since kfp's comment lists a default's keys in any order.
    compiled, golden = (list(yaml.safe_load_all(path.read_text())) for path in (tmp_path / "moist.yaml", GOLDEN))
    assert compiled == golden


def test_kfp_loads_it_and_gpus_are_asked_for_as_text() -> None:
    loaded = components.load_component_from_file(str(GOLDEN))
    assert loaded.name == "moist"
    spec, platform = yaml.safe_load_all(GOLDEN.read_text())
    executors = spec["deploymentSpec"]["executors"]
    slim = {name for name, executor in executors.items() if "slim" in executor["container"]["image"]}
    assert slim == {"exec-prepare-data", "exec-cluster-logits", "exec-cluster-oracle"}
    for name, executor in executors.items():
        assert ("accelerator" in executor["container"]["resources"]) == (name not in slim | {"exec-export"})
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    for name in ("gpu_count", "gpu_type", "train_cpu", "train_memory"):
        assert parameters[name]["parameterType"] == "STRING"
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(settings) == set(executors)
    for setting in settings.values():
        assert setting["securityContext"]["runAsNonRoot"]
        assert any(mount["mountPath"] == "/tmp" for mount in setting["emptyDirMounts"])
        (given,) = setting["configMapAsEnv"]
        assert given["configMapName"] == ENVIRONMENT
        assert given["optional"]  # a namespace without it runs the pipeline, without checkpoints
        variables = {entry["envVar"]: entry["configMapKey"] for entry in given["keyToEnv"]}
        assert {"AWS_ENDPOINT_URL_S3", "MOIST_CHECKPOINTS"} <= set(variables)
        assert all(name == key for name, key in variables.items())


def test_retries_have_the_time_that_the_task_has() -> None:
    """Argo counts from the first attempt's start, and ends a retried pod at that time, too."""
    spec, platform = yaml.safe_load_all(GOLDEN.read_text())
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for task in spec["root"]["dag"]["tasks"].values():
        label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
        attempts, limit = 1 + task["retryPolicy"]["maxRetryCount"], int(settings[label]["activeDeadlineSeconds"])
        assert attempts > 1
        assert int(task["retryPolicy"]["backoffMaxDuration"].removesuffix("s")) > attempts * limit


def stage_of(name: str) -> Stage:
    stage: Stage = importlib.import_module(f"moist.stages.{name}.settings").STAGE
    return stage


def kfp_type(annotation: Any) -> str:
    return TYPES[type(get_args(annotation)[0]) if get_origin(annotation) is Literal else annotation]


@pytest.mark.parametrize("name", STAGES)
def test_a_component_has_its_settings_names_types_defaults_and_descriptions(name: str) -> None:
    stage = stage_of(name)
    component = getattr(importlib.import_module(f"moist.stages.{name}.component"), name)
    (spec,) = component.pipeline_spec.components.values()
    parameters = spec.input_definitions.parameters
    assert set(parameters) == set(stage.settings.model_fields)
    for field, info in stage.settings.model_fields.items():
        assert info.description, field
        parameter = parameters[field]
        assert parameter.description == info.description
        kind = kfp_type(info.annotation)
        assert parameter.parameter_type == ParameterType.ParameterTypeEnum.Value(kind)
        value = parameter.default_value
        default = {"NUMBER_INTEGER": value.number_value, "NUMBER_DOUBLE": value.number_value}.get(
            kind, value.bool_value if kind == "BOOLEAN" else value.string_value
        )
        assert default == info.default, field
    assert set(spec.input_definitions.artifacts) == set(stage.inputs)
    assert set(spec.output_definitions.artifacts) == set(stage.outputs)
    for port, artifact in [*spec.input_definitions.artifacts.items(), *spec.output_definitions.artifacts.items()]:
        declared = {**stage.inputs, **stage.outputs}[port]
        assert artifact.artifact_type.schema_title == f"system.{declared.type}"
        assert artifact.description == declared.description


@pytest.mark.parametrize("name", STAGES)
def test_flags_are_the_settings(name: str, tmp_path: Path) -> None:
    stage = stage_of(name)
    artifacts = [
        part
        for port in (*stage.inputs, *stage.outputs)
        for part in (f"--{port.replace('_', '-')}", str(tmp_path / port))
    ]
    assert parse_task(stage, artifacts).settings == stage.settings()
    for field, info in stage.settings.model_fields.items():
        task = parse_task(stage, [*artifacts, f"--{field.replace('_', '-')}", str(info.default)])
        assert getattr(task.settings, field) == info.default


def test_a_switch_needs_no_value(tmp_path: Path) -> None:
    stage = stage_of("distill_student")
    artifacts = [part for port in ("dataset", "logits", "student") for part in (f"--{port}", str(tmp_path / port))]
    for given, read in (([], False), (["--fresh-views"], True), (["--fresh-views", "False"], False)):
        assert parse_task(stage, [*artifacts, *given]).settings.fresh_views is read


def test_what_kubeflow_sees_never_imports_torch_and_what_runs_never_imports_kfp() -> None:
    modules = [f"moist.stages.{name}" for name in STAGES]
    seen = [f"import {module}.component" for module in modules]
    code = "; ".join([*seen, "import sys; sys.exit('torch' in sys.modules)"])
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == 0
    runs = [f"import {module}.program" for module in modules]
    code = "; ".join([*runs, "import sys; sys.exit('kfp' in sys.modules)"])
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == 0


def test_slim_stages_need_no_torch() -> None:
    slim = [name for name in STAGES if stage_of(name).image == "slim"]
    assert slim == ["cluster_logits", "compare", "compare_sweep", "prepare_data", "prepare_table"]
    code = "; ".join(
        [*(f"import moist.stages.{name}.program" for name in slim), "import sys; sys.exit('torch' in sys.modules)"]
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == 0


def test_the_parameters_kfp_adds_to_size_a_task_are_no_settings() -> None:
    given = {"epochs": 3.0, "pipelinechannel--gpu_count": "1", "accelerator_count": "1", "memory_limit": "16G"}
    assert settings_values(given) == {"epochs": 3}


@pytest.mark.parametrize(
    ("arguments", "router", "takes"),
    [
        (("--preset", "quick"), "cnn", {"dataset", "clusters"}),
        (("--preset", "quick", "--router", "class"), "class", {"dataset", "clusters", "logits"}),
        (("--preset", "quick", "--shared-layers", "0", "--router", "linear"), "linear", {"dataset", "clusters"}),
        (("--router", "transformer"), "transformer", {"dataset", "clusters"}),
        (("--preset", "best"), "class", {"dataset", "clusters", "logits"}),
        (("--preset", "quick", "--shared-layers", "2"), None, set()),
        (("--preset", "quick", "--shared-layers", "1"), None, set()),
    ],
)
def test_the_router_is_the_presets_or_that_of_shared_layers(
    arguments: tuple[str, ...], router: str | None, takes: set[str], tmp_path: Path
) -> None:
    assert run_command("compile", *arguments, "--output", str(tmp_path / "moist.yaml")).returncode == 0
    spec, _ = yaml.safe_load_all((tmp_path / "moist.yaml").read_text())
    tasks = spec["root"]["dag"]["tasks"]
    given = {name: task["inputs"] for name, task in tasks.items()}
    assert ("pretrain-router" in tasks) == (router is not None)
    assert ("router" in given["train-jointly"]["artifacts"]) == (router is not None)
    if router is not None:
        learns = given["pretrain-router"]
        assert learns["parameters"]["architecture"]["runtimeValue"]["constant"] == router
        assert set(learns["artifacts"]) == takes
        for control in ("control-same-budget", "control-same-cost"):
            assert given[control]["parameters"]["router"]["runtimeValue"]["constant"] == router


def test_a_router_beside_shared_layers_is_refused(tmp_path: Path) -> None:
    arguments = ("--shared-layers", "2", "--router", "cnn", "--output", str(tmp_path / "moist.yaml"))
    done = run_command("compile", *arguments)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "--router cnn is for students that share no layers" in done.stderr
