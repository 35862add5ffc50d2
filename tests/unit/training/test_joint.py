"""Joint training: which parameters a gradient reaches under each routing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from moist.data import logits as stored_logits
from moist.mode.distillation import mutual_distillation
from moist.models.mixture import Mixture
from moist.models.specification import MixtureSpec, NetworkSpec, build, router_spec
from moist.models.student import feature_shape
from moist.stages.train_jointly.settings import Settings
from moist.training.images import Images
from moist.training.joint import hard_objective, oracle_objective, soft_objective
from moist.training.loop import Batch
from moist.training.losses import soft_mixture_loss
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


def mixture(with_router: bool = True, shared_layers: int = 0) -> Mixture:
    torch.manual_seed(0)
    student = NetworkSpec(architecture="student", shape=(8, 8, 1), outputs=4, width=16)
    name, shape = ("head", feature_shape((8, 8, 1), (32, 64), shared_layers)) if shared_layers else ("cnn", (8, 8, 1))
    router = router_spec(name, shape, 2, hidden=1) if with_router else None
    module = build(MixtureSpec(router=router, student=student, clusters=CLUSTERS, shared_layers=shared_layers))
    assert isinstance(module, Mixture)
    return module.train()


def gradients(module: torch.nn.Module) -> Iterator[float]:
    for parameter in module.parameters():
        yield 0.0 if parameter.grad is None else float(parameter.grad.abs().max())


@pytest.mark.parametrize("shared_layers", [0, 1, 2])
def test_soft_routing_trains_the_router_and_every_student(
    batch_and_targets: tuple[Batch, Targets], shared_layers: int
) -> None:
    batch, targets = batch_and_targets
    # Without the router's own loss, so that only the mixture's likelihood can reach it.
    model, settings = mixture(shared_layers=shared_layers), Settings(router_weight=0.0)
    soft_objective(model, targets, settings)(batch).loss.backward()
    assert model.router is not None
    for part in [model.router, *model.students, *([model.trunk] if model.trunk else [])]:
        assert max(gradients(part)) > 1e-8


@pytest.mark.parametrize("space", ["logits", "probabilities"])
def test_mutual_distillation_adds_its_weighted_loss_and_nothing_at_weight_zero(
    batch_and_targets: tuple[Batch, Targets], space: Literal["logits", "probabilities"]
) -> None:
    batch, targets = batch_and_targets

    def run(settings: Settings) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
        model = mixture(shared_layers=2).eval()
        loss = soft_objective(model, targets, settings)(batch).loss
        loss.backward()
        return loss, [p.grad for p in model.parameters() if p.grad is not None], model.dense(batch.images)[1]

    old = Settings()
    router_logits, students = mixture(shared_layers=2).eval().dense(batch.images)
    losses = {"temperature": old.temperature, "weight": old.teacher_weight, "others_weight": old.others_weight}
    own = mixture().student_of_class
    plain = soft_mixture_loss(
        router_logits, students, targets.of(batch), batch.labels, own, **losses, router_weight=old.router_weight
    )
    without, gradients_without, _ = run(Settings(mutual_weight=0.0, mutual_space=space))
    assert torch.equal(without, plain)
    with_it, gradients_with, outputs = run(Settings(mutual_weight=3.0, mutual_space=space))
    compared = outputs.softmax(dim=2) if space == "probabilities" else outputs
    torch.testing.assert_close(with_it, plain + 3 * mutual_distillation(compared))
    assert any(not torch.equal(a, b) for a, b in zip(gradients_without, gradients_with, strict=True))


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
