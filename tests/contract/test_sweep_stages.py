"""evaluate measures a sweep's models beside the others, and compare_sweep reads what it wrote."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from moist.data import clusters as class_clusters
from moist.data import dataset as datasets
from moist.data import sources
from moist.errors import DamagedArtifactError, InputError
from moist.models.specification import MixtureSpec, NetworkSpec, build, router_spec
from moist.models.storage import save_model
from moist.reports.results import Results
from moist.reports.sweep import SweepComparison
from moist.runtime.artifacts import MANIFEST, InputRecord, Manifest, describe, digest_of, read_manifest, write_json
from moist.runtime.contract import execute
from moist.runtime.task import parse_task
from moist.stages.compare_sweep import program as comparing
from moist.stages.evaluate import program as evaluating

SHAPE = (8, 8, 1)
GROUPS = {2: ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)), 3: ((0, 1, 2), (3, 4, 5), (6, 7, 8, 9))}


def stamped(folder: Path, kind: str, learned_from: str = "") -> Path:
    """The folder as an artifact of this kind, made of the data set with this digest if one is given."""
    files = describe(folder)
    manifest = Manifest(
        kind=kind, name=kind, digest=digest_of(files), files=files, stage="test", task="test", code_version="0",
        settings={"routing": "soft"},
        inputs={"dataset": InputRecord(uri="s3://bucket/dataset", digest=learned_from)} if learned_from else {},
    )  # fmt: skip
    write_json(folder / MANIFEST, manifest.model_dump())
    return folder


def student(width: int) -> NetworkSpec:
    return NetworkSpec(architecture="student", shape=SHAPE, outputs=10, width=width)


def mixture(router: str, k: int, width: int, hidden: int = 256) -> MixtureSpec:
    return MixtureSpec(router=router_spec(router, SHAPE, k, hidden), student=student(width), clusters=GROUPS[k])


MODELS: dict[str, list[NetworkSpec | MixtureSpec]] = {
    "teacher": [NetworkSpec(architecture="small_resnet", shape=SHAPE, outputs=10)],
    "student": [student(16)],
    "mixture": [mixture("cnn", 3, 16)],
    "by_k": [mixture("cnn", 2, 16)],
    "by_width": [mixture("cnn", 3, 4), mixture("cnn", 3, 32)],
    "by_router": [mixture("transformer", 3, 16)],
    "by_size": [mixture("linear", 3, 16, hidden) for hidden in (8, 256)],
    "students": [student(4), student(32)],
    "same_cost": [student(16)],
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """evaluate's flags: forty digits, and untrained models."""
    root = tmp_path_factory.mktemp("inputs")
    data = sources.prepare(
        "digits", None, seed=0, validation_fraction=0.1, test_fraction=0.2, train_limit=100, test_limit=40,
        augmentation="none", cache=root / "cache",
    )  # fmt: skip
    datasets.save(data, root / "dataset")
    found = class_clusters.ClassClusters([[0.0] * 10] * 10, [[1.0] * 10] * 10, [list(g) for g in GROUPS[3]], "k", {})
    class_clusters.save(root / "clusters", found, data.classes)
    flags = ["--dataset", str(stamped(root / "dataset", "dataset"))]
    flags += ["--clusters", str(stamped(root / "clusters", "clusters"))]
    torch.manual_seed(0)
    for name, specs in MODELS.items():
        kind = evaluating.STAGE.inputs[name].kind
        flags.append(f"--{name.replace('_', '-')}")
        for index, spec in enumerate(specs):
            folder = root / f"{name}-{index}"
            save_model(folder, build(spec), spec)
            flags.append(str(stamped(folder, kind)))
    return flags


@pytest.fixture(scope="module")
def measured(inputs: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """evaluate's results of two seeds."""
    found = []
    for seed in (4, 2):
        out = tmp_path_factory.mktemp(f"seed-{seed}")
        outputs = [part for name in evaluating.STAGE.outputs for part in (f"--{name}", str(out / name))]
        task = parse_task(evaluating.STAGE, [*inputs, *outputs, "--latency-seconds", "0", "--seed", str(seed)])
        execute(task, evaluating.STAGE, evaluating.evaluate)
        found.append(out / "metrics")
    return found


def compare(results: Sequence[Path], out: Path) -> None:
    outputs = [part for name in comparing.STAGE.outputs for part in (f"--{name}", str(out / name))]
    task = parse_task(comparing.STAGE, ["--results", *map(str, results), *outputs])
    execute(task, comparing.STAGE, comparing.compare_sweep)


def test_every_model_is_a_row_that_says_what_it_is(measured: list[Path], inputs: list[str]) -> None:
    results = Results.model_validate_json((measured[0] / "results.json").read_bytes())
    rows = {row.key: row for row in results.rows}
    assert len(rows) == sum(map(len, MODELS.values()))
    assert [(rows[f"by_width_{i}"].width, rows[f"students_{i}"].width) for i in range(2)] == [(4, 4), (32, 32)]
    assert [rows[f"by_size_{i}"].router_size for i in range(2)] == [8, 256]
    assert rows["by_k_0"].label == "MoIST, cnn router, k=2"
    assert rows["by_width_1"].label == "MoIST, cnn router, k=3, width 32"
    assert rows["by_size_0"].label == "MoIST, linear router of 8, k=3"
    assert rows["students_0"].role == "student"
    # 64 pixels to 8 to 4 to 3 students: the router is counted.
    assert rows["by_size_0"].router_macs == 64 * 8 + 8 * 4 + 4 * 3
    assert rows["by_size_0"].macs - rows["by_size_0"].router_macs == rows["student"].macs
    assert [timing.batch_size for timing in rows["mixture"].latency] == [1]  # of 64 images there are not enough
    where = {entry["name"]: entry["uri"] for entry in results.lineage}
    report = (measured[0].parent / "report").read_text("utf-8")
    assert report.count("<h3>MoIST") == 1, "a sweep's points are in the tables, their details are not drawn"
    assert where["by_width_1"] == inputs[inputs.index("--by-width") + 2]


def test_models_of_another_data_set_are_named(inputs: list[str], tmp_path: Path) -> None:
    own = read_manifest(Path(inputs[inputs.index("--dataset") + 1]), "dataset").digest
    folders = {name: inputs[inputs.index(f"--{name}") + 1] for name in ("student", "mixture", "teacher")}
    flags = list(inputs)
    for (name, folder), digest in zip(folders.items(), ("0" * 64, own, ""), strict=True):
        copy = Path(shutil.copytree(folder, tmp_path / name))
        (copy / MANIFEST).unlink()
        flags[flags.index(folder)] = str(stamped(copy, evaluating.STAGE.inputs[name].kind, digest))
    outputs = [part for name in evaluating.STAGE.outputs for part in (f"--{name}", str(tmp_path / "out" / name))]
    task = parse_task(evaluating.STAGE, [*flags, *outputs, "--latency-seconds", "0"])
    execute(task, evaluating.STAGE, evaluating.evaluate)
    results = Results.model_validate_json((tmp_path / "out" / "metrics" / "results.json").read_bytes())
    assert results.warning.startswith("Not the data set that student learned from, which may have had")
    assert "Not the data set that student learned from" in (tmp_path / "out" / "report").read_text("utf-8")


def test_the_comparison_has_the_lines_and_the_seeds(measured: list[Path], tmp_path: Path) -> None:
    compare(measured, tmp_path)
    comparison = SweepComparison.model_validate_json((tmp_path / "metrics" / "results.json").read_bytes())
    assert comparison.seeds == [2, 4]
    assert {line.along: len(line.points) for line in comparison.lines} == {
        "k": 2, "width": 3, "router": 3, "router_size": 2,
    }  # fmt: skip
    assert "routing=soft" in comparison.parameters["mixture"]
    text, report = (tmp_path / name for name in ("text", "report"))
    assert "Width of the students (Fig. 3b)" in text.read_text("utf-8")
    assert report.read_text("utf-8").startswith("<!doctype html>")
    manifest = json.loads((tmp_path / "metrics" / MANIFEST).read_text())
    assert len(manifest["inputs"]["results"]) == 2


@pytest.mark.parametrize("content", ["{", "{}", '{"rows": []}', "[" * 100_000])
def test_results_that_are_none_are_refused_in_one_sentence(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "results.json").write_text(content)
    with pytest.raises(DamagedArtifactError) as caught:
        compare([stamped(folder, "results")], tmp_path / "out")
    assert "does not hold Results" in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "out" / "metrics").exists()


def test_the_same_seed_twice_is_refused_and_nothing_is_written(measured: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give each seed once"):
        compare([measured[0], measured[0]], tmp_path)
    assert list(tmp_path.iterdir()) == []
