"""train_jointly with shared layers, its control, and what evaluate says they cost, on a tiny data set."""

from pathlib import Path

import pytest
import torch
from moist.errors import InputError
from moist.models.cost import cost, macs
from moist.models.mixture import Mixture
from moist.models.specification import NetworkSpec, build
from moist.models.storage import load_description, load_model, save_model
from moist.stages.distill_student.program import distill_student
from moist.stages.distill_student.settings import Settings as StudentSettings
from moist.stages.evaluate.measure import load_candidates, measure_rows
from moist.stages.train_jointly.program import train_jointly
from moist.stages.train_jointly.settings import Settings
from moist.training.record import read_steps
from tiny import save_inputs, tiny_dataset

EPOCHS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, clusters, logits and a student, as the earlier stages leave them."""
    root: Path = tmp_path_factory.mktemp("inputs")
    save_inputs(root)
    for name, spec in {
        "student": NetworkSpec(architecture="student", shape=(8, 8, 1), outputs=4, width=16),
        "teacher": NetworkSpec(architecture="student", shape=(8, 8, 1), outputs=4, width=64),
    }.items():
        torch.manual_seed(0)
        save_model(root / name, build(spec), spec)
    return root


def jointly(folder: Path, out: Path, settings: Settings) -> Path:
    out.mkdir(parents=True)
    (out / "metrics").mkdir()
    inputs = {name: folder / name for name in ("dataset", "student", "logits")}
    inputs["clusters"] = folder / "clusters-2"
    train_jointly(
        settings, router=None, mixture=out / "mixture", metrics=out / "metrics", curves=out / "curves.html", **inputs
    )
    return out / "mixture"


def test_a_mixture_on_a_shared_trunk_and_its_mean_cost(folder: Path, tmp_path: Path) -> None:
    settings = Settings(epochs=EPOCHS, shared_layers=2, mutual_weight=0.1, second_share=0.5)
    saved = jointly(folder, tmp_path / "out", settings)
    mixture = load_model(saved, expect="mixture")
    assert isinstance(mixture, Mixture)
    assert mixture.trunk is not None
    assert 0 < mixture.second_below < 1
    counted = cost(mixture, (8, 8, 1))
    (spent,) = read_steps(load_description(saved).extra)
    assert spent.macs == 96 * EPOCHS * (
        counted.router_macs + counted.trunk_macs + 2 * (counted.student_macs - counted.trunk_macs)
    )
    data = tiny_dataset()
    candidates = load_candidates({"teacher": folder / "teacher", "mixture": saved}, torch.device("cpu"))
    teacher, row = measure_rows(candidates, data, torch.device("cpu"), "fp32", 7, 0.0)
    images = torch.from_numpy(data.test.images.transpose(0, 3, 1, 2).copy()).float().div(255)
    images = (images - data.mean[0]) / data.std[0]
    with torch.no_grad():
        share = float((mixture.certainty(images) <= mixture.second_below).double().mean())
    assert 0 < share < 1
    assert row.macs == pytest.approx(counted.macs + share * (counted.student_macs - counted.trunk_macs))
    assert f"{share:.1%}" in row.note
    assert row.cascade[0].accuracy == row.accuracy
    assert (row.cascade[-1].accuracy, row.cascade[-1].macs) == (
        teacher.accuracy,
        pytest.approx(row.macs + teacher.macs),
    )
    assert teacher.cascade == []


@pytest.mark.parametrize("control", ["same_budget", "same_cost"])
def test_its_controls_get_all_that_it_costs(folder: Path, tmp_path: Path, control: str) -> None:
    saved = jointly(folder, tmp_path / "mixture", Settings(epochs=EPOCHS, shared_layers=2))
    counted = cost(load_model(saved), (8, 8, 1))
    settings = StudentSettings.model_validate(
        {"control": control, "width": 16, "epochs": 1, "joint_epochs": EPOCHS, "shared_layers": 2, "second_share": 0.5}
    )
    (tmp_path / "metrics").mkdir()
    distill_student(
        settings,
        dataset=folder / "dataset",
        logits=folder / "logits",
        teacher=None,
        clusters=folder / "clusters-2",
        student=tmp_path / "student",
        metrics=tmp_path / "metrics",
        curves=tmp_path / "curves.html",
    )
    single = load_model(tmp_path / "student")
    (spent,) = read_steps(load_description(tmp_path / "student").extra)
    budget = 96 * (counted.student_macs + EPOCHS * counted.macs_of(2))
    assert budget <= spent.macs < budget + 96 * macs(single, (8, 8, 1))
    if control == "same_cost":
        assert counted.macs_of(1.5) <= macs(single, (8, 8, 1)) < 1.2 * counted.macs_of(1.5)
    else:
        assert macs(single, (8, 8, 1)) == counted.student_macs


def test_a_router_beside_shared_layers_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shared_layers=0 needs --router"):
        jointly(folder, tmp_path / "out", Settings(epochs=1))
