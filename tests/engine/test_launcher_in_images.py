"""Every component of the compiled pipeline as Kubeflow's launcher runs it, in the real images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from image_launcher import ImageLauncher
from launcher import Artifacts
from moist.reports.results import Results
from moist.runtime.artifacts import MANIFEST, verify
from moist.runtime.local_store import store
from moist.runtime.store import ENDPOINT_VARIABLES, Store

pytestmark = [pytest.mark.engine, pytest.mark.timeout(2000)]

BUCKET = "mlpipeline"
TINY = {
    "train_limit": 150,
    "test_limit": 50,
    "views": 1,
    "width": 16,
    "latency_seconds": 0.01,
    "gpu_count": "0",
    **dict.fromkeys(("teacher_epochs", "student_epochs", "router_epochs", "joint_epochs"), 1),
}


@pytest.fixture(scope="module")
def launcher(
    engine: Any, images: dict[str, str], compiled: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ImageLauncher]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ENDPOINT_VARIABLES:
            patch.delenv(name, raising=False)
        with store(tmp_path_factory.mktemp("store")) as environment:
            s3 = Store.of(environment)
            s3.ensure_bucket(BUCKET)
            root = f"minio://{BUCKET}/v2/artifacts/moist/a-run"
            yield ImageLauncher(engine, s3, compiled, root, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def produced(launcher: ImageLauncher) -> dict[str, Artifacts]:
    """The outputs of every task, run in the order of the DAG."""
    found: dict[str, Artifacts] = {}
    for name in launcher.tasks():
        code, said, found[name] = launcher.run(name, *launcher.inputs(name, TINY, found))
        assert code == 0, f"{name}: {said}"
    return found


def test_every_component_gives_all_its_outputs(
    produced: dict[str, Artifacts], compiled: dict[str, Any], launcher: ImageLauncher, tmp_path: Path
) -> None:
    run = {compiled["root"]["dag"]["tasks"][name]["componentRef"]["name"] for name in produced}
    assert run == set(compiled["components"])
    assert len(run) > 10
    for task, artifacts in produced.items():
        for name, artifact in artifacts.items():
            path = tmp_path / task / name
            launcher.store.download(artifact["uri"], path)
            if path.is_dir():
                kind, digest = artifact["metadata"]["kind"], artifact["metadata"]["digest"]
                manifest = verify(path, name, kind=kind, expected_digest=digest)
                assert manifest.task == task
            else:
                assert path.stat().st_size > 1000


def test_the_evaluation_measured_what_was_trained(
    produced: dict[str, Artifacts], launcher: ImageLauncher, tmp_path: Path
) -> None:
    launcher.store.download(produced["evaluate"]["metrics"]["uri"], tmp_path / "metrics")
    results = Results.model_validate_json((tmp_path / "metrics" / "results.json").read_bytes())
    assert results.data.test == TINY["test_limit"]
    assert {row.key for row in results.rows} == {
        *("teacher", "student", "oracle", "mixture"),
        *("same_budget", "same_cost"),
    }


def test_an_input_that_is_gone_is_noticed(produced: dict[str, Artifacts], launcher: ImageLauncher) -> None:
    """The launcher downloads nothing and says nothing."""
    values, inputs = launcher.inputs("cluster-logits", TINY, produced)
    gone = {"logits": {**inputs["logits"], "uri": f"{launcher.root}/nothing/logits"}}
    again = ImageLauncher(**{**vars(launcher), "work": launcher.work / "gone"})
    code, said, _ = again.run("cluster-logits", values, gone)
    assert code == 3
    assert f"{launcher.root}/nothing/logits" in said
    assert "Traceback" not in said


def test_a_damaged_input_is_noticed(produced: dict[str, Artifacts], launcher: ImageLauncher) -> None:
    values, inputs = launcher.inputs("cluster-logits", TINY, produced)
    uri = f"{launcher.root}/damaged/logits"
    for name in launcher.store.list(inputs["logits"]["uri"]):
        content = launcher.store.get_bytes(f"{inputs['logits']['uri']}/{name}")
        damaged = content if name == MANIFEST else content[:-1] + bytes([content[-1] ^ 1])
        launcher.store.put_bytes(f"{uri}/{name}", damaged)
    again = ImageLauncher(**{**vars(launcher), "work": launcher.work / "damaged"})
    code, said, _ = again.run("cluster-logits", values, {"logits": {**inputs["logits"], "uri": uri}})
    assert code == 3
    assert "Traceback" not in said
