"""The whole pipeline on this machine: what it prints, what it leaves, what it reuses, and stages run by hand."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import FinishedRun, finished, run_command
from moist.presets import preset_arguments
from moist.reports.results import Results
from moist.runtime.artifacts import MANIFEST, Manifest
from moist.runtime.local_store import store
from moist.runtime.store import Store

STAGES = (
    "prepare_data",
    "train_teacher",
    "cluster_logits",
    "distill_student",
    "pretrain_router",
    "train_jointly",
    "export",
    "evaluate",
)
TASKS = {
    "prepare-data",
    "train-teacher",
    "cluster-logits",
    "distill-student",
    "pretrain-router",
    "train-jointly",
    "export",
    "cluster-oracle",
    "train-oracle",
    "control-same-budget",
    "control-same-cost",
    "evaluate",
}


@pytest.fixture(scope="module")
def results(smoke_run: FinishedRun) -> Results:
    return Results.model_validate_json((smoke_run.folder / "results.json").read_bytes())


@pytest.fixture(scope="module")
def artifacts(smoke_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything the run left in the store, on disk."""
    folder = tmp_path_factory.mktemp("artifacts")
    with store(smoke_run.home / "store") as environment:
        Store.of(environment).download(f"s3://moist/runs/{smoke_run.id}", folder)
    return folder


def test_it_prints_the_table_and_names_the_report(smoke_run: FinishedRun, results: Results) -> None:
    assert "same" in smoke_run.stdout
    for row in results.rows:
        assert f"{100 * row.accuracy:.2f}" in smoke_run.stdout
    assert str(smoke_run.folder / "report.html") in smoke_run.stdout
    assert (smoke_run.folder / "report.html").read_text().startswith("<!doctype html>")


def test_every_row_of_the_table_is_there(results: Results) -> None:
    assert [(row.key, row.role) for row in results.rows] == [
        ("teacher", "teacher"),
        ("student", "student"),
        ("oracle", "upper bound"),
        ("mixture", "mixture"),
        ("same_budget", "control"),
        ("same_cost", "control"),
    ]


def test_the_report_names_what_went_in(smoke_run: FinishedRun, results: Results) -> None:
    assert {line["name"] for line in results.lineage} == {"dataset", "clusters", *(row.key for row in results.rows)}
    page = (smoke_run.folder / "report.html").read_text()
    for line in results.lineage:
        assert line["uri"].startswith(f"s3://moist/runs/{smoke_run.id}/")
        assert line["uri"] in page
        assert line["digest"].startswith("sha256:")


def test_the_mixture_pays_for_its_router_and_the_controls_match_it(results: Results) -> None:
    rows = {row.key: row for row in results.rows}
    mixture, student = rows["mixture"], rows["student"]
    assert mixture.router_macs > 0
    assert mixture.macs == mixture.router_macs + student.macs
    assert rows["same_budget"].macs == student.macs
    assert mixture.training_macs <= rows["same_budget"].training_macs < mixture.training_macs * 1.2
    assert mixture.macs <= rows["same_cost"].macs < mixture.macs * 1.1
    assert mixture.training_macs <= rows["same_cost"].training_macs


def test_accuracy_splits_into_rightly_and_wrongly_routed(results: Results) -> None:
    for row in results.rows:
        if row.routing is not None:
            r, a, b = row.routing.r, row.routing.a or 0.0, row.routing.b or 0.0
            assert row.accuracy == pytest.approx(r * a + (1 - r) * b, abs=1e-9)
            assert sum(map(sum, row.routing.confusion)) == results.data.test
    assert next(row for row in results.rows if row.key == "oracle").routing.r == 1.0  # type: ignore[union-attr]


def test_every_artifact_carries_where_it_came_from(artifacts: Path, smoke_run: FinishedRun) -> None:
    manifests = {path.parent.relative_to(artifacts).as_posix(): path for path in artifacts.rglob(MANIFEST)}
    assert {name.split("/")[0] for name in manifests} == TASKS
    read = {name: Manifest.model_validate_json(path.read_bytes()) for name, path in manifests.items()}
    digests = {manifest.digest for manifest in read.values()}
    for manifest in read.values():
        for record in manifest.inputs.values():
            assert not isinstance(record, list)
            assert record.uri.startswith(f"s3://moist/runs/{smoke_run.id}/")
            assert record.digest in digests
    record = json.loads((artifacts / "run.json").read_text())
    assert record["state"] == "succeeded"
    assert set(record["tasks"]) == TASKS


def test_a_second_run_is_served_from_the_cache_and_a_changed_setting_is_not(smoke_run: FinishedRun) -> None:
    options = ("run", "--preset", "smoke", "--home", str(smoke_run.home))
    again = finished(smoke_run.home, run_command(*options))
    assert again.stderr.count("unchanged, taken from") == len(TASKS)
    assert again.stdout.split("Report:")[0] == smoke_run.stdout.split("Report:")[0]
    changed = finished(smoke_run.home, run_command(*options, "--latency-seconds", "0.05"))
    assert changed.stderr.count("unchanged, taken from") == len(TASKS) - 1


def run_stage(stage: str, **flags: Any) -> None:
    arguments = [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    subprocess.run([sys.executable, "-m", f"moist.stages.{stage}.program", *arguments], check=True, env=environment)


def same_payload(left: Path, right: Path) -> None:
    names = sorted(path.name for path in left.iterdir())
    assert names == sorted(path.name for path in right.iterdir())
    for name in names:
        if name != MANIFEST:
            assert (left / name).read_bytes() == (right / name).read_bytes(), name
    manifests = [Manifest.model_validate_json((folder / MANIFEST).read_bytes()) for folder in (left, right)]
    assert manifests[0].digest == manifests[1].digest


SETTINGS = {"distill_student": {"width": 32, "epochs": 2}, "train_jointly": {"epochs": 2}}


def test_stages_alone_give_the_same_bytes_as_in_the_dag(artifacts: Path, tmp_path: Path) -> None:
    def given(task: str, output: str) -> Path:
        return artifacts / task / output

    shared = {"dataset": given("prepare-data", "dataset"), "logits": given("train-teacher", "logits")}
    outputs = {"metrics": tmp_path / "metrics", "curves": tmp_path / "curves.html"}
    student = tmp_path / "student"
    run_stage("distill_student", **shared, **SETTINGS["distill_student"], **outputs, student=student)
    same_payload(student, given("distill-student", "student"))
    run_stage(
        "train_jointly",
        **shared,
        **SETTINGS["train_jointly"],
        **outputs,
        student=student,
        router=given("pretrain-router", "router"),
        clusters=given("cluster-logits", "clusters"),
        mixture=tmp_path / "mixture",
    )
    same_payload(tmp_path / "mixture", given("train-jointly", "mixture"))


def test_a_stage_alone_reads_and_writes_the_store(smoke_run: FinishedRun, artifacts: Path, tmp_path: Path) -> None:
    run = f"s3://moist/runs/{smoke_run.id}"
    with store(smoke_run.home / "store") as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        run_stage(
            "cluster_logits",
            logits=f"{run}/train-teacher/logits",
            clusters="s3://moist/by-hand/clusters",
            view="s3://moist/by-hand/view.html",
            metrics="s3://moist/by-hand/metrics",
        )
        Store.of(environment).download("s3://moist/by-hand", tmp_path / "by-hand")
    same_payload(tmp_path / "by-hand" / "clusters", artifacts / "cluster-logits" / "clusters")
    assert (tmp_path / "by-hand" / "view.html").read_text().startswith("<!doctype html>")


@pytest.mark.slow
def test_every_stage_alone_on_paths_and_on_uris_gives_the_bytes_of_the_dag(
    smoke_run: FinishedRun, artifacts: Path, tmp_path: Path
) -> None:
    """The whole chain by hand: each stage reads what the one before wrote, in turn from a path and from the store."""
    pipeline = preset_arguments("smoke", "digits")
    epochs = {name: pipeline[f"{name}_epochs"] for name in ("teacher", "student", "router", "joint")}
    limits = {name: pipeline[name] for name in ("train_limit", "test_limit")}
    students = {"width": pipeline["width"]}
    control = {
        **students,
        "epochs": epochs["student"],
        "router_epochs": epochs["router"],
        "joint_epochs": epochs["joint"],
    }
    chain: list[tuple[str, str, dict[str, str], dict[str, Any]]] = [
        ("prepare-data", "prepare_data", {}, limits),
        ("train-teacher", "train_teacher", {"dataset": "prepare-data/dataset"},
         {"epochs": epochs["teacher"], "views": pipeline["views"]}),
        ("cluster-logits", "cluster_logits", {"logits": "train-teacher/logits"}, {}),
        ("distill-student", "distill_student", {"dataset": "prepare-data/dataset", "logits": "train-teacher/logits"},
         {**students, "epochs": epochs["student"]}),
        ("pretrain-router", "pretrain_router",
         {"dataset": "prepare-data/dataset", "clusters": "cluster-logits/clusters"}, {"epochs": epochs["router"]}),
        ("train-jointly", "train_jointly",
         {"dataset": "prepare-data/dataset", "logits": "train-teacher/logits", "student": "distill-student/student",
          "router": "pretrain-router/router", "clusters": "cluster-logits/clusters"}, {"epochs": epochs["joint"]}),
        ("export", "export", {"dataset": "prepare-data/dataset", "mixture": "train-jointly/mixture"}, {}),
        ("control-same-cost", "distill_student",
         {"dataset": "prepare-data/dataset", "logits": "train-teacher/logits", "clusters": "cluster-logits/clusters"},
         {**control, "control": "same_cost"}),
        ("evaluate", "evaluate",
         {"dataset": "prepare-data/dataset", "clusters": "cluster-logits/clusters", "teacher": "train-teacher/teacher",
          "student": "distill-student/student", "mixture": "train-jointly/mixture",
          "same-cost": "control-same-cost/student"}, {"latency_seconds": 0.1}),
    ]  # fmt: skip
    assert {stage for _, stage, _, _ in chain} == set(STAGES)
    timed = {"evaluate"}
    with store(smoke_run.home / "store") as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        for number, (task, stage, inputs, settings) in enumerate(chain):
            root = [str(tmp_path), "s3://moist/chain"][number % 2]
            before = ["s3://moist/chain", str(tmp_path)][number % 2]
            # What the stage before wrote lies under the other root; everything else was copied to both below.
            outputs = {port: f"{root}/{task}/{port}" for port in stage_outputs(stage)}
            run_stage(stage, **{name: f"{before}/{place}" for name, place in inputs.items()}, **settings, **outputs)
            remote = Store.of(environment)
            if root.startswith("s3://"):
                remote.download(f"{root}/{task}", tmp_path / task)
            else:
                remote.upload(tmp_path / task, f"s3://moist/chain/{task}")
            for port in stage_outputs(stage):
                made = tmp_path / task / port
                if made.is_dir() and task not in timed:
                    same_payload(made, artifacts / task / port)
    assert (tmp_path / "evaluate" / "report").read_text().startswith("<!doctype html>")


def stage_outputs(stage: str) -> list[str]:
    return list(importlib.import_module(f"moist.stages.{stage}.settings").STAGE.outputs)
