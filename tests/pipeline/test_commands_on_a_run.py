"""The commands on a real run of the whole pipeline: evaluate again, the lineage, and results from a cluster's store."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, FinishedRun, run_command
from kubeflow_server import Kubeflow, serve
from moist.reports.results import Results
from moist.runtime.local_store import store
from moist.runtime.runs import RunRecord, read_run
from moist.runtime.store import Store

UUID = "0a1b2c3d-0a1b-4c3d-8e9f-0a1b2c3d4e5f"
TABLE = re.compile(r"^(?:Teacher|MoIST|Distilled|control).*\d {2,}\d.*", re.MULTILINE)


def results_of(found: Store, record: RunRecord) -> Results:
    return Results.model_validate_json(found.get_bytes(f"{record.artifacts['evaluate']['metrics'].uri}/results.json"))


def test_evaluate_again_is_one_process_and_gives_the_same_figures(smoke_run: FinishedRun) -> None:
    home = ("--home", str(smoke_run.home))
    done = run_command("rerun", "evaluate", "--from", smoke_run.id, "--set", "batch_size=50", *home)
    assert done.returncode == 0, done.stderr
    assert "[1/1] evaluate" in done.stderr
    assert "epoch" not in done.stderr
    rows = [line.split()[0] for line in TABLE.findall(done.stdout)]
    assert rows == ["Teacher", "Distilled", "MoIST,", "control:", "control:"]
    with store(smoke_run.home / "store") as environment:
        found = Store.of(environment)
        again, first = read_run(found, "latest"), read_run(found, smoke_run.id)
        assert again.rerun_of == first.id == smoke_run.id
        assert {name.split("/")[0] for name in found.list(f"s3://moist/runs/{again.id}")} == {"run.json", "evaluate"}
        before, after = results_of(found, first), results_of(found, again)
    assert [row.accuracy for row in after.rows] == [row.accuracy for row in before.rows]
    assert again.artifacts["train-jointly"] == first.artifacts["train-jointly"]


def test_the_lineage_of_a_run_is_whole(smoke_run: FinishedRun, tmp_path: Path) -> None:
    page = tmp_path / "lineage.html"
    done = run_command("lineage", smoke_run.id, "--home", str(smoke_run.home), "--html", str(page))
    assert done.returncode == 0, done.stdout
    assert "12 tasks" in done.stdout
    assert "Nothing is stale, damaged or missing." in done.stdout
    for task in ("prepare-data", "train-teacher", "pretrain-router", "control-same-cost", "evaluate"):
        assert f">{task}<" in page.read_text()
        assert task in done.stdout


def test_submit_ends_with_the_table_from_the_clusters_store(smoke_run: FinishedRun, tmp_path: Path) -> None:
    """The run's artifacts lie as Kubeflow lays them out, in a store that this machine reaches."""
    run_id = "5f0c3d2e-0000-4000-8000-000000000001"
    with store(smoke_run.home / "store") as environment, serve(Kubeflow(run_ids=[run_id])) as kubeflow:
        found = Store.of(environment)
        for name in found.list(f"s3://moist/runs/{smoke_run.id}/evaluate"):
            content = found.get_bytes(f"s3://moist/runs/{smoke_run.id}/evaluate/{name}")
            found.put_bytes(f"s3://moist/cluster/moist/{run_id}/evaluate/{UUID}/{name}", content)
        arguments = ["submit", "--host", kubeflow.url, "--preset", "smoke", "--pipeline-root", "minio://moist/cluster"]
        done = subprocess.run(
            [sys.executable, str(ROOT / "pipeline.py"), *arguments, "--home", str(tmp_path)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert TABLE.findall(done.stdout) == TABLE.findall(smoke_run.stdout)
    assert done.stdout.strip().endswith(f"/#/runs/details/{run_id}")
    report = tmp_path / "runs" / run_id / "report.html"
    assert f"Report: {report}" in done.stdout
    assert report.read_text() == (smoke_run.folder / "report.html").read_text()
    assert environment["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr


@pytest.mark.slow
def test_train_jointly_again_reruns_what_depends_on_it(smoke_run: FinishedRun) -> None:
    home = ("--home", str(smoke_run.home))
    arguments = ("--from", smoke_run.id, "--set", "others_weight=0.5", "--downstream")
    done = run_command("rerun", "train_jointly", *arguments, *home)
    assert done.returncode == 0, done.stderr
    started = re.findall(r"^\[(\d/3)\] (.*)", done.stderr, re.MULTILINE)
    assert [number for number, _ in started] == ["1/3", "2/3", "3/3"]
    assert started[0][1] == "train-jointly"
    assert {task for _, task in started} == {"train-jointly", "export", "evaluate"}
    with store(smoke_run.home / "store") as environment:
        found = Store.of(environment)
        again, first = read_run(found, "latest"), read_run(found, smoke_run.id)
        rows = [{row.key: row.loss for row in results_of(found, record).rows} for record in (first, again)]
    assert rows[0]["mixture"] != rows[1]["mixture"]
    assert {key: value for key, value in rows[0].items() if key != "mixture"} == {
        key: value for key, value in rows[1].items() if key != "mixture"
    }
