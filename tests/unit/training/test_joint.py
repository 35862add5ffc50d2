"""Joint training: which parameters a gradient reaches under each routing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from moist.data import logits as stored_logits
from moist.models.mixture import Mixture
from moist.models.specification import MixtureSpec, NetworkSpec, build
from moist.stages.train_jointly.settings import Settings
from moist.training.images import Images
from moist.training.joint import hard_objective, oracle_objective, soft_objective
from moist.training.loop import Batch
from moist.training.targets import Targets, load_targets
from tiny import tiny_dataset

CLUSTERS = ((0, 1), (2, 3))


@pytest.fixture(scope="module")
def batch_and_targets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Batch, Targets]:
    data, device = tiny_dataset(), torch.device("cpu")
    images = Images(data, data.train, device)
    values = np.random.default_rng(0).normal(size=(2, len(images), 4)).astype(np.float32)
    folder: Path = tmp_path_factory.mktemp("logits")
    stored_logits.save(folder, values, data.train.labels, data.classes, view_seed=0)
    indices = torch.arange(24)
    return Batch(images.view(indices, 1), images.labels[indices], indices, 1), load_targets(folder, data, device)


def mixture(with_router: bool = True) -> Mixture:
    torch.manual_seed(0)
    student = NetworkSpec(architecture="student", shape=(8, 8, 1), outputs=4, width=16)
    router = NetworkSpec(architecture="cnn_router", shape=(8, 8, 1), outputs=2) if with_router else None
    module = build(MixtureSpec(router=router, student=student, clusters=CLUSTERS))
    assert isinstance(module, Mixture)
    return module.train()


def gradients(module: torch.nn.Module) -> Iterator[float]:
    for parameter in module.parameters():
        yield 0.0 if parameter.grad is None else float(parameter.grad.abs().max())


def test_soft_routing_trains_the_router_and_every_student(batch_and_targets: tuple[Batch, Targets]) -> None:
    batch, targets = batch_and_targets
    # Without the router's own loss, so that only the mixture's likelihood can reach it.
    model, settings = mixture(), Settings(router_weight=0.0)
    soft_objective(model, targets, settings)(batch).loss.backward()
    assert model.router is not None
    assert max(gradients(model.router)) > 1e-8
    for student in model.students:
        assert max(gradients(student)) > 1e-8


def test_the_papers_hard_routing_gives_the_router_no_gradient(batch_and_targets: tuple[Batch, Targets]) -> None:
    batch, targets = batch_and_targets
    model = mixture()
    assert model.router is not None
    before = {name: value.clone() for name, value in model.router.state_dict().items()}
    hard_objective(model, targets, Settings(routing="hard"))(batch).loss.backward()
    assert all(parameter.grad is None for parameter in model.router.parameters())
    assert max(max(gradients(student)) for student in model.students) > 1e-8
    after = model.router.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "batch-norm statistics moved"


def test_the_oracle_shows_each_student_only_its_own_classes(batch_and_targets: tuple[Batch, Targets]) -> None:
    batch, targets = batch_and_targets
    model = mixture(with_router=False)
    mine = batch.labels < 2
    only = Batch(batch.images[mine], batch.labels[mine], batch.indices[mine], batch.view)
    oracle_objective(model, targets, Settings(routing="oracle"))(only).loss.backward()
    assert max(gradients(model.students[0])) > 1e-8
    assert max(gradients(model.students[1])) == 0.0


def test_targets_are_the_teachers_words_on_the_same_view(batch_and_targets: tuple[Batch, Targets]) -> None:
    batch, targets = batch_and_targets
    assert torch.equal(targets.of(batch), targets.values[1, batch.indices].float())
    assert not torch.equal(targets.values[0], targets.values[1])
