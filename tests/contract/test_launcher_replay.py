"""Stages as Kubeflow's launcher runs them: `{{$}}`, inputs under /minio, no parent folders, strict executor output."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from host_launcher import HostLauncher
from moist.runtime.artifacts import verify
from moist.runtime.contract import CHECKPOINTS
from moist.runtime.store import Store
from moist.stages.cluster_logits.component import cluster_logits
from moist.stages.compare.component import compare
from moist.stages.prepare_data.component import prepare_data
from moist.stages.prepare_table.component import prepare_table
from moist.stages.probe_experts.component import probe_experts
from moist.stages.train_mixture.component import train_mixture
from moist.stages.train_teacher.component import train_teacher

Run = Callable[..., tuple[int, str]]

QUICK = {"runs": 2, "epochs": 2}


@pytest.fixture
def bucket(s3: Store) -> Iterator[str]:
    """A bucket whose folder under /minio nothing else uses."""
    name, mounted = f"moist-test-{os.getpid()}", Path("/minio").exists()
    if not os.access("/minio" if mounted else "/", os.W_OK):
        pytest.skip("/minio, where the launcher puts artifacts, cannot be written here (needs root)")
    s3.ensure_bucket(name)
    yield name
    shutil.rmtree(Path("/minio", name), ignore_errors=True)
    if not mounted:
        Path("/minio").rmdir()


def test_a_chain_of_components(s3: Store, bucket: str, tmp_path: Path, store_environment: dict[str, str]) -> None:
    """On a cluster the launcher brings and takes the artifacts: the programs themselves get no store."""
    hidden = dict.fromkeys(store_environment, "") | {"OMP_NUM_THREADS": "1"}
    launcher = HostLauncher(s3, f"minio://{bucket}/v2/artifacts/moist/a-run", tmp_path, hidden)
    data, _ = launcher.run(prepare_data, {}, {"train_limit": 150, "test_limit": 50})
    taught, _ = launcher.run(train_teacher, {"dataset": data["dataset"]}, {"epochs": 1, "views": 1})
    # The next task's inputs come from the store, not from what an earlier one left on this machine.
    shutil.rmtree(Path("/minio", bucket))
    groups, _ = launcher.run(cluster_logits, {"logits": taught["logits"]}, {"k": 3})
    assert data["dataset"]["metadata"]["train_images"] == 135
    assert groups["clusters"]["metadata"]["k"] == 3
    assert 0 < taught["teacher"]["metadata"]["accuracy"] <= 1
    folder = Path("/minio", groups["clusters"]["uri"].removeprefix("minio://"))
    manifest = verify(folder, "clusters", kind="clusters", expected_digest=groups["clusters"]["metadata"]["digest"])
    assert manifest.task == "cluster-logits"  # from the URI: on a cluster nothing else holds the task's name
    assert json.loads(json.dumps(manifest.model_dump()))["inputs"]["logits"] == {
        "uri": taught["logits"]["uri"],
        "digest": taught["logits"]["metadata"]["digest"],
    }
    assert groups["view"]["metadata"]["kind"] == "view"
    assert sorted(s3.list(groups["view"]["uri"])) == [""]  # one file, for the UI to show


def test_what_loops_made_comes_as_lists(
    s3: Store, bucket: str, tmp_path: Path, store_environment: dict[str, str]
) -> None:
    """`dsl.Collected`: each item has a place of its own, and the manifest names them all, in the loop's order."""
    hidden = dict.fromkeys(store_environment, "") | {"OMP_NUM_THREADS": "1"}
    launcher = HostLauncher(s3, f"minio://{bucket}/v2/artifacts/mode/a-run", tmp_path, hidden)
    table, _ = launcher.run(prepare_table, {}, {"source": "digits"})
    trained = [
        launcher.run(train_mixture, {"table": table["table"]}, {"model": model, "alphas": alphas, **QUICK})[0]
        for model, alphas in (("dense-2", "0, 0.01"), ("single", "0"))
    ]
    shutil.rmtree(Path("/minio", bucket))
    mixtures = [found["mixtures"] for found in trained]
    probed, _ = launcher.run(probe_experts, {"table": table["table"], "mixtures": mixtures}, {})
    compared, _ = launcher.run(compare, {"tables": [probed["results"]]}, {"candidates": "0.01", "shown": "0, 0.01"})
    folder = Path("/minio", probed["results"]["uri"].removeprefix("minio://"))
    given = verify(folder, "results", kind=probed["results"]["metadata"]["kind"]).inputs["mixtures"]
    assert isinstance(given, list)
    assert [(one.uri, one.digest) for one in given] == [(one["uri"], one["metadata"]["digest"]) for one in mixtures]
    assert compared["metrics"]["metadata"]["digits dense, 2 experts MoDE"] > 0


@pytest.mark.slow
def test_a_preempted_task_goes_on_in_another_pod(
    s3: Store, bucket: str, tmp_path: Path, store_environment: dict[str, str]
) -> None:
    """With what a namespace's secret and ConfigMap give; the second pod's outputs go elsewhere, as Kubeflow has it."""
    checkpoints = f"s3://{bucket}/moist/checkpoints"
    given = {**store_environment, "OMP_NUM_THREADS": "1", CHECKPOINTS: checkpoints}
    launcher = HostLauncher(s3, f"minio://{bucket}/v2/artifacts/moist/a-run", tmp_path, given)
    data, _ = launcher.run(prepare_data, {}, {"train_limit": 150, "test_limit": 50})
    settings = {"epochs": 3, "views": 0, "batch_size": 4, "checkpoint_seconds": 0}
    launch, first = launcher.start(train_teacher, {"dataset": data["dataset"]}, settings)
    while not s3.list(checkpoints):
        assert first.poll() is None, first.communicate()[1]
    first.kill()
    first.communicate()
    taught, said = launcher.run(train_teacher, {"dataset": data["dataset"]}, settings)
    assert "going on from checkpoint" in said
    assert taught["teacher"]["uri"] != launch.outputs["teacher"]["uri"]
    assert s3.list(launch.outputs["teacher"]["uri"]) == {}
    # The pod may be lost while the launcher uploads: then the next one finds the training done.
    again, said = launcher.run(train_teacher, {"dataset": data["dataset"]}, settings)
    assert "going on from checkpoint" in said
    assert "epoch 3/3" not in said
    assert again["teacher"]["metadata"]["digest"] == taught["teacher"]["metadata"]["digest"]


def test_a_missing_input_is_noticed(s3: Store, bucket: str, tiny: Run, tmp_path: Path) -> None:
    """To the launcher a missing prefix is no error: it downloads nothing, and the program finds nothing."""
    root = f"minio://{bucket}/v2/artifacts/moist/a-run"
    places = {name: {"artifacts": [{"uri": f"{root}/x/{name}"}]} for name in ("copy", "page", "metrics")}
    given = {
        "inputs": {"artifacts": {"source": {"artifacts": [{"uri": f"{root}/nothing"}]}}},
        "outputs": {"outputFile": str(tmp_path / "task" / "out.json"), "artifacts": places},
    }
    code, error = tiny("--executor-input", json.dumps(given))
    assert code == 3
    assert f"{root}/nothing is not in the store" in error


def test_values_that_kubeflow_refuses_are_left_out(tmp_path: Path, tiny: Run) -> None:
    places = {name: {"artifacts": [{"uri": str(tmp_path / name)}]} for name in ("copy", "page", "metrics")}
    output_file = tmp_path / "task" / "out.json"
    for ending, left in (("not-a-number", set()), ("well", {"share", "nested"})):
        given = {
            "inputs": {"parameterValues": {"ending": ending}},
            "outputs": {"outputFile": str(output_file), "artifacts": places},
        }
        assert tiny("--executor-input", json.dumps(given)) == (0, "")
        metadata = json.loads(output_file.read_text())["artifacts"]["copy"]["artifacts"][0]["metadata"]
        assert set(metadata) == {"digest", "kind", "code_version", "lines"} | left


@pytest.mark.parametrize(
    ("artifacts", "said"),
    [
        ({"source": [{"uri": "a"}, {"uri": "b"}]}, "Input source takes one artifact, not 2."),
        ({"sauce": [{"uri": "a"}]}, "Stage tiny has no artifact 'sauce'"),
        ({"source": [{"uri": ""}]}, "is not what Kubeflow passes"),
    ],
)
def test_inputs_that_do_not_fit_the_stage(
    artifacts: dict[str, list[dict[str, str]]], said: str, tmp_path: Path, tiny: Run
) -> None:
    places = {name: {"artifacts": [{"uri": str(tmp_path / name)}]} for name in ("copy", "page", "metrics")}
    given = {
        "inputs": {"artifacts": {name: {"artifacts": entries} for name, entries in artifacts.items()}},
        "outputs": {"outputFile": str(tmp_path / "task" / "out.json"), "artifacts": places},
    }
    code, error = tiny("--executor-input", json.dumps(given))
    assert code == 2
    assert said in error
