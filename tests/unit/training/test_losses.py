"""The losses against their formulas, and where their gradients go."""

import math

import pytest
import torch
import torch.nn.functional as F
from moist.training.losses import distillation, double_softmax_router_loss, router_loss, soft_mixture_loss

GENERATOR = torch.Generator().manual_seed(0)
STUDENT, TEACHER = torch.randn(2, 7, 5, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 4, 2, 2, 1, 3, 0])


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_the_soft_target_is_the_divergence_times_the_squared_temperature(temperature: float) -> None:
    p = (TEACHER / temperature).softmax(1)
    q = (STUDENT / temperature).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    loss = distillation(STUDENT, TEACHER, LABELS, temperature=temperature, weight=1.0)
    assert loss.item() == pytest.approx(temperature**2 * divergence.item(), rel=1e-12)


def test_weight_zero_is_cross_entropy_and_never_looks_at_the_teacher() -> None:
    nowhere = torch.full_like(TEACHER, math.nan)
    loss = distillation(STUDENT, nowhere, LABELS, temperature=5, weight=0.0)
    assert loss.item() == pytest.approx(F.cross_entropy(STUDENT, LABELS).item(), rel=1e-12)


def test_weights_mix_both_targets() -> None:
    both = [distillation(STUDENT, TEACHER, LABELS, temperature=3, weight=w).item() for w in (0.0, 1.0, 0.7)]
    assert both[2] == pytest.approx(0.3 * both[0] + 0.7 * both[1], rel=1e-12)


def test_a_student_equal_to_its_teacher_has_no_soft_loss() -> None:
    assert distillation(TEACHER, TEACHER, LABELS, temperature=5, weight=1.0).item() == pytest.approx(0, abs=1e-12)


def test_the_papers_double_softmax_cannot_fall_below_its_floor() -> None:
    perfect = torch.eye(3) * 1e4
    labels = torch.arange(3)
    floor = double_softmax_router_loss(perfect, labels).item()
    assert floor == pytest.approx(math.log(1 + 2 / math.e), rel=1e-6)
    assert floor == pytest.approx(0.55, abs=0.005)
    assert router_loss(perfect, labels).item() == pytest.approx(0, abs=1e-6)


def soft(router: torch.Tensor, students: torch.Tensor, others: float = 0.2, weight: float = 0.7) -> torch.Tensor:
    return soft_mixture_loss(
        router,
        students,
        TEACHER,
        LABELS,
        torch.tensor([0, 0, 1, 1, 1]),
        temperature=5.0,
        weight=weight,
        others_weight=others,
        router_weight=1.0,
    )


def test_the_joint_loss_is_the_sum_of_its_three_parts() -> None:
    generator = torch.Generator().manual_seed(1)
    router = torch.randn(7, 2, generator=generator, dtype=torch.float64)
    students = torch.randn(7, 2, 5, generator=generator, dtype=torch.float64)
    own = torch.tensor([0, 0, 1, 1, 1])[LABELS]
    expected = 0.0
    for i, (label, mine) in enumerate(zip(LABELS.tolist(), own.tolist(), strict=True)):
        gate = router[i].softmax(0)
        expected -= math.log(sum(float(gate[j] * students[i, j].softmax(0)[label]) for j in range(2)))
        for j in range(2):
            one = distillation(
                students[i, j : j + 1].view(1, 5), TEACHER[i : i + 1], LABELS[i : i + 1], temperature=5.0, weight=0.7
            )
            expected += (1.0 if j == mine else 0.2) * float(one)
        expected -= math.log(float(gate[mine]))
    assert soft(router, students).item() == pytest.approx(expected / 7, rel=1e-12)


def test_students_do_not_learn_from_other_clusters_images_when_their_weight_is_zero() -> None:
    router = torch.zeros(7, 2, dtype=torch.float64)
    router[:, 0] = 50.0  # the gate trusts student 0 alone, so the mixture's likelihood teaches student 1 nothing
    students = torch.randn(7, 2, 5, generator=GENERATOR, dtype=torch.float64, requires_grad=True)
    soft(router, students, others=0.0).backward()
    assert students.grad is not None
    belongs_to_0 = LABELS < 2
    assert students.grad[belongs_to_0, 1].abs().max() < 1e-12
    assert (students.grad[~belongs_to_0, 1].abs().amax(1) > 1e-6).all()
