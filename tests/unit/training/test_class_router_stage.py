"""pretrain_router with the class router: it learns classes from the teacher, and its groups are the clusters."""

from pathlib import Path

import numpy as np
import pytest
import torch
from moist.data import clusters as class_clusters
from moist.data import dataset as image_dataset
from moist.data import logits as stored_logits
from moist.errors import InputError
from moist.models.cost import macs
from moist.models.mixture import Mixture
from moist.models.routers import ClassRouter
from moist.models.storage import load_description, load_model
from moist.stages.distill_student.program import distill_student
from moist.stages.distill_student.settings import Settings as StudentSettings
from moist.stages.pretrain_router.program import pretrain_router
from moist.stages.pretrain_router.settings import Settings
from moist.stages.train_jointly.program import train_jointly
from moist.stages.train_jointly.settings import Settings as JointSettings
from moist.training import evaluation
from moist.training.images import Images
from moist.training.record import read_steps
from tiny import tiny_dataset

SMALL = {"hidden": 8, "channels": 4}
LARGER = {"hidden": 32, "channels": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, its clusters, and a teacher that is sure of the class after the true one."""
    root: Path = tmp_path_factory.mktemp("inputs")
    data = tiny_dataset()
    image_dataset.save(data, root / "dataset")
    values = np.full((2, len(data.train), 4), -20, np.float32)
    values[:, np.arange(len(data.train)), (data.train.labels + 1) % 4] = 20
    stored_logits.save(root / "logits", values, data.train.labels, data.classes, view_seed=0)
    means = np.array([[9.0, 8, 0, 0], [8, 9, 0, 0], [0, 0, 9, 8], [0, 0, 8, 9]])
    class_clusters.save(root / "clusters", class_clusters.cluster(means, k=2, max_k=2, seed=0), data.classes)
    return root


def trained(folder: Path, out: Path, logits: Path | None, **settings: object) -> Path:
    (out / "metrics").mkdir(parents=True)
    pretrain_router(
        Settings.model_validate({"learning_rate": 1e-2, "architecture": "class", **SMALL, **settings}),
        dataset=folder / "dataset",
        clusters=folder / "clusters",
        logits=logits,
        router=out / "router",
        metrics=out / "metrics",
        curves=out / "curves.html",
    )
    return out / "router"


def test_it_learns_from_the_teacher_if_there_is_one_and_else_from_the_labels(folder: Path, tmp_path: Path) -> None:
    data = tiny_dataset()
    images = Images(data, data.train, torch.device("cpu"))
    for name, logits, shift in (("labels", None, 0), ("teacher", folder / "logits", 1)):
        router = load_model(trained(folder, tmp_path / name, logits, teacher_weight=1.0, epochs=20, **LARGER))
        assert isinstance(router, ClassRouter)
        named = evaluation.predict(router.student, images).argmax(1)
        assert float((named == (images.labels + shift) % 4).double().mean()) > 0.9
        groups = class_clusters.load(folder / "clusters", 4).student_of_class
        chosen = evaluation.predict(router, images).argmax(1)
        assert float((chosen == torch.from_numpy(groups)[named]).double().mean()) > 0.9
        # From the labels it learns to make no error, by which a temperature could be told.
        assert (float(router.temperature) == 1.0) == (name == "labels")
        (spent,) = read_steps(load_description(tmp_path / name / "router").extra)
        assert spent.macs == 96 * 20 * macs(router, (8, 8, 1))


def test_other_routers_take_no_teacher(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="architecture=cnn takes no --logits"):
        trained(folder, tmp_path, folder / "logits", architecture="cnn")


def test_its_cost_is_in_its_controls(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    router = load_model(trained(folder, tmp_path / "router", None, epochs=1))
    settings = {"control": "same_cost", "width": 16, "epochs": 1, "router_epochs": 1, "joint_epochs": 1}
    distill_student(
        StudentSettings.model_validate(
            {**settings, "routing": "hard", "router": "class", "router_hidden": 8, "router_channels": 4}
        ),
        dataset=folder / "dataset",
        logits=folder / "logits",
        teacher=None,
        clusters=folder / "clusters",
        student=tmp_path / "student",
        metrics=tmp_path / "metrics",
        curves=tmp_path / "curves.html",
    )
    description = load_description(tmp_path / "student")
    paper = 9 * (8 * 8 * 32 + 4 * 4 * 32 * 64) + (2 * 2 * 64 + 4) * 16
    (spent,) = read_steps(description.extra)
    wide, own = macs(load_model(tmp_path / "student"), (8, 8, 1)), macs(router, (8, 8, 1))
    assert paper + own <= wide < 1.2 * (paper + own)
    budget = 96 * (paper + own + paper + own)  # the student, the router, and both together
    assert budget <= spent.macs < budget + 96 * wide


def test_joint_training_tells_it_its_own_clusters(folder: Path, tmp_path: Path) -> None:
    """It may have been trained for others: those would send images to students that never see their class."""
    means = np.array([[9.0, 0, 8, 0], [0, 9, 0, 8], [8, 0, 9, 0], [0, 8, 0, 9]])
    data = tiny_dataset()
    class_clusters.save(tmp_path / "clusters", class_clusters.cluster(means, k=2, max_k=2, seed=0), data.classes)
    inputs = {"dataset": folder / "dataset", "logits": folder / "logits"}
    (tmp_path / "metrics").mkdir()
    files = {"metrics": tmp_path / "metrics", "curves": tmp_path / "curves.html"}
    small = StudentSettings.model_validate({"width": 16, "epochs": 1})
    distill_student(small, **inputs, teacher=None, clusters=None, student=tmp_path / "student", **files)
    router = trained(folder, tmp_path / "router", None, epochs=1)
    train_jointly(
        JointSettings.model_validate({"epochs": 1, "routing": "hard"}),
        **inputs,
        student=tmp_path / "student",
        router=router,
        clusters=tmp_path / "clusters",
        mixture=tmp_path / "mixture",
        **files,
    )
    mixture = load_model(tmp_path / "mixture", expect="mixture")
    assert isinstance(mixture, Mixture)
    assert isinstance(mixture.router, ClassRouter)
    assert mixture.student_of_class[0] == mixture.student_of_class[2]
    assert torch.equal(mixture.router.groups.argmax(1), mixture.student_of_class)
