"""A whole run of the sweep pipeline on digits, and what it left behind."""

import json
from pathlib import Path

import pytest
from conftest import FinishedRun, finished, run_command
from moist.reports.sweep import SweepComparison
from moist.runtime.local_store import store
from moist.runtime.store import Store

pytestmark = pytest.mark.slow

ONE_SEED = {
    "distill-student-0", "pretrain-router-0", "train-jointly-0", "control-same-budget-0", "control-same-cost-0",
    "cluster-by-k-0-0", "router-by-k-0-0", "train-by-k-0-0", "distill-by-width-0-0", "train-by-width-0-0",
    "router-by-kind-0-0", "train-by-router-0-0", "router-by-size-0-0", "train-by-size-0-0",
    "router-by-size-0-1", "train-by-size-0-1", "evaluate-0",
}  # fmt: skip
TASKS = ONE_SEED | {"prepare-data", "train-teacher", "cluster-logits", "compare-sweep"}
OPTIONS = ("run", "--pipeline", "sweep", "--preset", "smoke")


@pytest.fixture(scope="module")
def sweep_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """`pipeline.py run --pipeline sweep --preset smoke`."""
    home = tmp_path_factory.mktemp("sweep")
    return finished(home, run_command(*OPTIONS, "--home", str(home)))


@pytest.fixture(scope="module")
def comparison(sweep_run: FinishedRun) -> SweepComparison:
    return SweepComparison.model_validate_json((sweep_run.folder / "results.json").read_bytes())


def test_it_trains_each_point_once_and_prints_the_tables(sweep_run: FinishedRun) -> None:
    with store(sweep_run.home / "store") as environment:
        record = json.loads(Store.of(environment).get_bytes(f"s3://moist/runs/{sweep_run.id}/run.json"))
    assert (record["state"], set(record["tasks"])) == ("succeeded", TASKS)
    for heading in ("Number of students (Fig. 3a)", "Size of the linear router", "What holds", "Report:"):
        assert heading in sweep_run.stdout
    assert Path(sweep_run.folder, "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_the_points_are_those_that_were_asked_for(comparison: SweepComparison) -> None:
    assert {line.along: [getattr(point, line.along) for point in line.points] for line in comparison.lines} == {
        "k": [2, 3],
        "width": [16, 32],
        "router": ["cnn", "transformer", "linear"],
        "router_size": [16, 64],
    }
    assert comparison.middle.macs == comparison.middle.router_macs + 64 * comparison.middle.paper_mflops * 1e6
    assert [point.key for point in comparison.controls] == ["same_budget", "same_cost"]


def test_another_seed_trains_its_own_points_only(sweep_run: FinishedRun) -> None:
    again = finished(sweep_run.home, run_command(*OPTIONS, "--home", str(sweep_run.home), "--seeds", "0,1"))
    # The clusters of the second seed are those of the first: the teacher is the same.
    assert again.stderr.count("unchanged, taken from") == len(TASKS) - 1 + 1
    with store(sweep_run.home / "store") as environment:
        content = Store.of(environment).get_bytes(f"s3://moist/runs/{again.id}/router-by-size-1-0/router/moist.json")
    settings = json.loads(content)["settings"]
    assert (settings["seed"], settings["hidden"], settings["architecture"]) == (1, 16, "linear")
    found = SweepComparison.model_validate_json((again.folder / "results.json").read_bytes())
    assert found.seeds == [0, 1]
