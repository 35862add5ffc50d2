"""Stored logits as targets: of the very view that is shown, or their mean where every epoch draws new views."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from moist.data import logits as stored_logits
from moist.errors import InputError
from moist.models.specification import NetworkSpec, build
from moist.models.storage import save_model
from moist.stages.distill_student.program import distill_student
from moist.stages.distill_student.settings import Settings
from moist.stages.pretrain_router.program import pretrain_router
from moist.stages.pretrain_router.settings import Settings as RouterSettings
from moist.stages.train_jointly.program import train_jointly
from moist.stages.train_jointly.settings import Settings as JointSettings
from moist.training.loop import Batch
from moist.training.targets import load_targets
from tiny import save_inputs, tiny_dataset
from torch import Tensor

CPU = torch.device("cpu")


def shown(view: int) -> Batch:
    indices = torch.tensor([5, 0, 9])
    return Batch(torch.zeros(3, 1, 8, 8), indices % 4, indices, view)


def stored(folder: Path, views: int) -> Tensor:
    """Random logits of that many views besides the plain images, kept in `folder`, as they will be read again."""
    data = tiny_dataset()
    values = np.random.default_rng(1).normal(size=(views + 1, len(data.train), 4)).astype(np.float32)
    stored_logits.save(folder, values, data.train.labels, data.classes, view_seed=7)
    return torch.from_numpy(values).half()


def test_each_stored_view_has_what_the_teacher_said_of_it(tmp_path: Path) -> None:
    values = stored(tmp_path, views=3)
    targets = load_targets(tmp_path, tiny_dataset(), CPU)
    assert (targets.views, targets.view_seed) == (3, 7)
    for view in range(4):
        assert torch.equal(targets.of(shown(view)), values[view, [5, 0, 9]].float())


@pytest.mark.parametrize("views", [0, 1, 3])
def test_new_views_have_the_mean_of_the_augmented_ones_and_a_seed_of_their_own(views: int, tmp_path: Path) -> None:
    values = stored(tmp_path, views)
    targets = load_targets(tmp_path, tiny_dataset(), CPU, fresh_seed=3)
    assert (targets.views, targets.view_seed) == (None, 3)
    mean = (values[1:] if views else values).float().mean(0)[[5, 0, 9]]
    for view in (1, 2, 50):
        torch.testing.assert_close(targets.of(shown(view)), mean)


@pytest.mark.parametrize("stage", ["pretrain_router", "train_jointly"])
def test_class_routers_and_joint_training_see_new_views_too(stage: str, tmp_path: Path) -> None:
    save_inputs(tmp_path)
    given = {"dataset": tmp_path / "dataset", "logits": tmp_path / "logits", "clusters": tmp_path / "clusters-2"}
    spec = NetworkSpec(architecture="student", shape=(8, 8, 1), outputs=4, width=16)
    save_model(tmp_path / "student", build(spec), spec)

    def loss(fresh: bool) -> list[float]:
        out = tmp_path / f"fresh {fresh}"
        (out / "metrics").mkdir(parents=True)
        files = {"metrics": out / "metrics", "curves": out / "curves.html"}
        common = {"epochs": 2, "fresh_views": fresh}
        if stage == "pretrain_router":
            made = RouterSettings.model_validate({"architecture": "class", "hidden": 16, **common})
            pretrain_router(made, router=out / "router", **given, **files)
        else:
            joint = JointSettings.model_validate({"shared_layers": 1, **common})
            train_jointly(joint, student=tmp_path / "student", router=None, mixture=out / "mixture", **given, **files)
        series: list[float] = json.loads((out / "metrics" / "metrics.json").read_text())["series"]["loss"]
        return series

    assert loss(fresh=True) != loss(fresh=False)


def test_new_views_are_refused_where_all_views_are_new_already(tmp_path: Path) -> None:
    save_inputs(tmp_path)
    folders = {name: tmp_path / name for name in ("student", "router", "metrics", "curves")}
    given = {"dataset": tmp_path / "dataset", "clusters": tmp_path / "clusters-2"}
    files = {"metrics": folders["metrics"], "curves": folders["curves"]}
    with pytest.raises(InputError, match="fresh_views is for stored logits"):
        pretrain_router(
            RouterSettings.model_validate({"architecture": "class", "fresh_views": True}),
            logits=None, router=folders["router"], **given, **files,
        )  # fmt: skip
    with pytest.raises(InputError, match="fresh_views is for stored logits"):
        distill_student(
            Settings.model_validate({"fresh_views": True}), teacher=tmp_path / "teacher", logits=tmp_path / "logits",
            student=folders["student"], **given, **files,
        )  # fmt: skip


def test_a_student_sees_other_pictures_with_new_views(tmp_path: Path) -> None:
    save_inputs(tmp_path)

    def losses(name: str, **settings: object) -> list[float]:
        out = tmp_path / name
        (out / "metrics").mkdir(parents=True)
        inputs = {"dataset": tmp_path / "dataset", "logits": tmp_path / "logits"}
        outputs = {"student": out / "student", "metrics": out / "metrics", "curves": out / "curves.html"}
        made = Settings.model_validate({"epochs": 3, "width": 16, "seed": 4, **settings})
        distill_student(made, teacher=None, clusters=None, **inputs, **outputs)
        loaded = json.loads((out / "metrics" / "metrics.json").read_text())
        series: list[float] = loaded["series"]["loss"]
        return series

    assert losses("fresh", fresh_views=True) == losses("again", fresh_views=True)
    assert losses("fresh views", fresh_views=True) != losses("stored")
