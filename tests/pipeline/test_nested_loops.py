"""A loop inside a loop, run here: every task gets the items of both, as on a cluster."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from moist.runtime.artifacts import MANIFEST
from moist.runtime.kubeflow import Images, container_component
from moist.runtime.local_runner import LocalRun, run_pipeline
from moist.runtime.local_store import store
from moist.runtime.loops import planned_tasks
from moist.runtime.scheduling import on_cpu
from moist.runtime.store import Store
from small_stages.numbers.settings import STAGE as NUMBERS
from small_stages.scale.settings import STAGE as SCALE


def nested_pipeline() -> Any:
    numbers, scale = (container_component(stage) for stage in (NUMBERS, SCALE))

    @dsl.pipeline(name="nested")
    def nested(factors: list[float] = [0.5, 3.0], counts: list[int] = [2, 4]) -> None:  # noqa: B006
        with dsl.ParallelFor(items=factors, name="factors") as factor:  # noqa: SIM117 - two loops
            with dsl.ParallelFor(items=counts, name="counts") as count:
                made = on_cpu(numbers(count=count), "Make numbers")
                on_cpu(scale(factor=factor, numbers=made.outputs["numbers"]), "Scale")

    return Images().use_in(nested)


def test_the_outer_item_is_not_taken_for_the_inner_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
    pipeline, found = nested_pipeline(), {}
    with store(tmp_path / "store") as environment:
        run = LocalRun("nested-1", Store.of(environment), environment, tmp_path / "run", say=lambda text: None)
        run_pipeline(run, pipeline, {"factors": [0.5, 3.0], "counts": [2, 4]})
        for name in ("numbers", "scale"):
            for outer in range(2):
                for inner in range(2):
                    output = "numbers" if name == "numbers" else "scaled"
                    uri = f"{run.uri}/{name}-{outer}-{inner}/{output}/{MANIFEST}"
                    found[f"{name}-{outer}-{inner}"] = json.loads(run.store.get_bytes(uri))["settings"]
    assert [found[f"scale-{outer}-{inner}"]["factor"] for outer in range(2) for inner in range(2)] == [0.5, 0.5, 3, 3]
    assert [found[f"numbers-{outer}-{inner}"]["count"] for outer in range(2) for inner in range(2)] == [2, 4, 2, 4]
    planned = {task.name: task.values for task in planned_tasks(pipeline, {"factors": [0.5, 3.0], "counts": [2, 4]})}
    for name, settings in found.items():
        assert {key: settings[key] for key in planned[name]} == planned[name]
