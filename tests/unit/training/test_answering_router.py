"""A router that answers itself: trained apart from the student, without joint training, at what both cost."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from moist.data import dataset as image_dataset
from moist.errors import InputError
from moist.models.cost import cost, macs
from moist.models.mixture import Mixture
from moist.models.routers import ClassRouter
from moist.models.storage import load_description, load_model
from moist.stages.distill_student.program import distill_student
from moist.stages.distill_student.settings import Settings as StudentSettings
from moist.stages.evaluate.measure import load_candidates, measure_rows
from moist.stages.pretrain_router.program import pretrain_router
from moist.stages.pretrain_router.settings import Settings as RouterSettings
from moist.stages.train_jointly.program import threshold_of, train_jointly
from moist.stages.train_jointly.settings import Settings
from moist.training import evaluation
from moist.training.images import Images
from moist.training.record import read_steps
from pydantic import ValidationError
from tiny import save_inputs, tiny_dataset

ANSWERS = {"router_answers": True, "second_share": 0.5, "routing": "hard"}
SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, logits, one cluster, a student, and a class router that is as large as the student."""
    root: Path = tmp_path_factory.mktemp("inputs")
    save_inputs(root)
    distilled(root, root / "student", {"epochs": 2})
    settings = {"architecture": "class", "hidden": 16, "channels": 64, "epochs": 1}
    with_files = files(root / "router-files")
    inputs = {name: root / name for name in ("dataset", "logits")}
    pretrain_router(
        RouterSettings.model_validate(settings),
        clusters=root / "clusters-1",
        router=root / "router",
        **inputs,
        **with_files,
    )
    return root


def files(folder: Path) -> dict[str, Path]:
    (folder / "metrics").mkdir(parents=True)
    return {"metrics": folder / "metrics", "curves": folder / "curves.html"}


def distilled(folder: Path, out: Path, settings: dict[str, Any]) -> Path:
    inputs = {name: folder / name for name in ("dataset", "logits")}
    made = StudentSettings.model_validate({"width": 16, **settings})
    named = files(out.with_name(f"{out.name}-files"))
    distill_student(made, teacher=None, clusters=folder / "clusters-1", student=out, **inputs, **named)
    return out


def jointly(folder: Path, out: Path, **settings: Any) -> Path:
    inputs = {name: folder / name for name in ("dataset", "student", "router", "logits")}
    made = Settings.model_validate({**ANSWERS, **settings})
    train_jointly(made, clusters=folder / "clusters-1", mixture=out / "mixture", **inputs, **files(out))
    return out / "mixture"


def test_without_training_it_is_router_and_student_as_they_were(folder: Path, tmp_path: Path) -> None:
    saved = jointly(folder, tmp_path, epochs=0)
    mixture, student, router = (load_model(path) for path in (saved, folder / "student", folder / "router"))
    assert isinstance(mixture, Mixture)
    assert isinstance(mixture.router, ClassRouter)
    assert isinstance(router, ClassRouter)
    for found, before in ((mixture.students[0], student), (mixture.router.student, router.student)):
        for one, other in zip(found.parameters(), before.parameters(), strict=True):
            assert torch.equal(one, other)
    assert 0 < mixture.second_below < 1
    steps = read_steps(load_description(saved).extra)
    assert [(step.stage, step.epochs) for step in steps] == [
        ("distill_student", 2),
        ("pretrain_router", 1),
        ("train_jointly", 0),
    ]
    assert "nothing was trained" in (tmp_path / "curves.html").read_text()


def test_router_and_student_are_two_students(folder: Path, tmp_path: Path) -> None:
    """With the same seed and size they would be one, and a second opinion would be the first again."""
    student = load_model(distilled(folder, tmp_path / "student", {"epochs": 1}))
    router = load_model(folder / "router")
    assert isinstance(router, ClassRouter)
    assert macs(router, SHAPE) == macs(student, SHAPE)
    assert not torch.equal(next(router.student.parameters()), next(student.parameters()))


def test_one_cluster_is_no_measure_of_a_router(folder: Path, tmp_path: Path) -> None:
    """It is always right about the one student; what says something is how many images it answers rightly itself."""
    inputs = {name: folder / name for name in ("dataset", "logits")}
    settings = RouterSettings.model_validate({"architecture": "class", "hidden": 16, "channels": 64, "epochs": 2})
    where = files(tmp_path / "files")
    said = pretrain_router(settings, clusters=folder / "clusters-1", router=tmp_path / "router", **inputs, **where)
    router, data = load_model(tmp_path / "router").eval(), tiny_dataset()
    assert isinstance(router, ClassRouter)
    held_out = Images(data, data.validation, torch.device("cpu"))
    own = evaluation.accuracy(evaluation.predict(router.student, held_out), held_out.labels)
    assert said["metrics"]["validation_accuracy"] == own < 1
    assert said["metrics"]["accuracy"] < 1
    assert "router_temperature" not in said["metrics"]
    assert float(router.temperature) == 1.0


def test_no_more_images_get_a_second_opinion_than_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = load_model(jointly(folder, folder / "threshold", epochs=0))
    assert isinstance(mixture, Mixture)
    data = tiny_dataset()
    held_out = Images(data, data.validation, torch.device("cpu"))
    for values, share, expected in (
        ([0.2, 0.5, 0.9, 1.0], 0.5, 0.5),
        ([0.2, 1.0, 1.0, 1.0], 0.5, 0.2),  # half of them would be all
        ([1.0, 1.0, 1.0, 1.0], 0.5, 0.0),  # none at all
        ([0.2, 0.5, 0.9, 0.9], 1.0, 0.9),
    ):
        monkeypatch.setattr(evaluation, "predict", lambda *_, values=values: torch.tensor(values))
        found = threshold_of(mixture, held_out, Settings.model_validate({**ANSWERS, "second_share": share}))
        assert found == pytest.approx(expected)


def test_the_validation_accuracy_is_that_of_what_is_saved(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    inputs = {name: folder / name for name in ("dataset", "student", "router", "logits")}
    made = Settings.model_validate({**ANSWERS, "epochs": 1, "second_share": 0.5})
    said = train_jointly(made, clusters=folder / "clusters-1", mixture=out / "mixture", **inputs, **files(out))
    data = tiny_dataset()
    held_out = Images(data, data.validation, torch.device("cpu"))
    saved = load_model(out / "mixture").eval()
    right = evaluation.accuracy(evaluation.predict(saved, held_out), held_out.labels)
    assert said["metrics"]["validation_accuracy"] == right


def test_its_cost_is_the_routers_and_the_share_of_the_students(folder: Path, tmp_path: Path) -> None:
    saved = jointly(folder, tmp_path, epochs=0)
    mixture = load_model(saved)
    assert isinstance(mixture, Mixture)
    data, cpu = tiny_dataset(), torch.device("cpu")
    (row,) = measure_rows(load_candidates({"mixture": saved}, cpu), data, cpu, "fp32", 7, 0.0)
    images = (torch.from_numpy(data.test.images.transpose(0, 3, 1, 2).copy()).float() / 255 - data.mean[0]) / data.std[
        0
    ]
    with torch.no_grad():
        share = float((mixture.certainty(images) <= mixture.second_below).double().mean())
    counted = cost(mixture, SHAPE)
    assert 0 < share < 1
    assert row.macs == pytest.approx(counted.router_macs + share * counted.student_macs)
    assert f"the router answered, and on {share:.1%}" in row.note
    assert row.routing is None, "most images are sent to no student"


def test_single_students_look_again_where_training_mirrors_its_images(folder: Path, tmp_path: Path) -> None:
    cpu, plain = torch.device("cpu"), tiny_dataset()
    mixture = jointly(folder, tmp_path, epochs=0)
    candidates = load_candidates({"student": folder / "student", "mixture": mixture}, cpu)
    for flip in (False, True):
        data = replace(plain, augmentation=replace(plain.augmentation, flip=flip))
        student, mixed = measure_rows(candidates, data, cpu, "fp32", 7, 0.0)
        assert mixed.second_look == []
        assert bool(student.second_look) == flip
    assert (student.second_look[0].accuracy, student.second_look[0].macs) == (student.accuracy, student.macs)
    model = load_model(folder / "student")
    images = (torch.from_numpy(data.test.images.transpose(0, 3, 1, 2).copy()).float() / 255 - data.mean[0]) / data.std[
        0
    ]
    with torch.no_grad():
        both = model(images) + model(images.flip(3))
    right = float((both.argmax(1) == torch.from_numpy(data.test.labels)).double().mean())
    assert (student.second_look[-1].accuracy, student.second_look[-1].macs) == (right, 2 * student.macs)


def test_mirrored_images_are_for_data_whose_training_mirrors_them(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training mirrors, and those of tiny it does not"):
        jointly(folder, tmp_path / "plain", epochs=0, second_mirrored=True)
    plain, cpu = tiny_dataset(), torch.device("cpu")
    mirrored = replace(plain, augmentation=replace(plain.augmentation, flip=True))
    shutil.copytree(folder, tmp_path / "inputs", ignore=shutil.ignore_patterns("dataset"))
    image_dataset.save(mirrored, tmp_path / "inputs" / "dataset")
    saved = jointly(tmp_path / "inputs", tmp_path / "mirrored", epochs=0, second_mirrored=True)
    (row,) = measure_rows(load_candidates({"mixture": saved}, cpu), mirrored, cpu, "fp32", 7, 0.0)
    counted = cost(load_model(saved), SHAPE)
    assert "both also about the mirrored image" in row.note
    share = row.router_macs / counted.router_macs - 1
    assert 0 < share < 1
    assert row.macs == pytest.approx(row.router_macs + 2 * share * counted.student_macs)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("control", ["same_budget", "same_cost"])
def test_its_controls_get_all_that_it_costs(folder: Path, tmp_path: Path, control: str, mirrored: bool) -> None:
    counted = cost(load_model(jointly(folder, tmp_path, epochs=0)), SHAPE)
    settings = {**ANSWERS, "control": control, "epochs": 2, "router": "class", "router_hidden": 16}
    settings |= {"second_mirrored": mirrored}
    settings |= {"router_channels": 64, "router_epochs": 3, "joint_epochs": 0}
    single = distilled(folder, tmp_path / control, settings)
    own = macs(load_model(single), SHAPE)
    (spent,) = read_steps(load_description(single).extra)
    budget = 96 * (2 * counted.student_macs + 3 * counted.router_macs)
    assert budget <= spent.macs < budget + 96 * own
    if control == "same_cost":
        wanted = counted.router_macs + 0.5 * counted.student_macs
        wanted += 0.5 * (counted.router_macs + counted.student_macs) if mirrored else 0
        assert wanted <= own < 1.2 * wanted
    else:
        assert own == counted.student_macs


def test_one_cluster_is_for_a_router_that_answers(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="One cluster leaves a router nothing to choose"):
        jointly(folder, tmp_path, epochs=1, router_answers=False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"second_share": 0.0}, "second_share above 0"),
        ({"shared_layers": 1, "routing": "soft"}, "no shared_layers"),
        ({"routing": "oracle"}, "no routing=oracle"),
        ({"routing": "oracle", "router_answers": False}, "second_share needs a router: no routing=oracle"),
        ({"router_answers": False, "epochs": 0}, "all students are alike"),
        ({"router_answers": False, "second_mirrored": True}, "it needs router_answers"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate({**ANSWERS, **settings})
