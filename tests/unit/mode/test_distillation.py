"""Mutual distillation: values known by hand, gradients by finite differences, masks that really mask."""

import pytest
import torch
from moist.errors import InputError
from moist.mode.distillation import distilled_loss, in_space, mutual_distillation
from torch import Tensor, nn


def test_two_experts_by_hand_equation_9() -> None:
    e = torch.tensor([[[1.0, 2.0], [4.0, 2.0]], [[0.0, 0.0], [0.0, 2.0]]])
    assert mutual_distillation(e).item() == pytest.approx(((9 + 0) / 2 + (0 + 4) / 2) / 2)


def test_three_experts_by_hand_equation_10() -> None:
    e = torch.tensor([[[0.0], [3.0], [6.0]]])  # average 3
    assert mutual_distillation(e).item() == pytest.approx((9 + 0 + 9) / 3)


def test_more_than_two_is_the_mean_squared_distance_to_the_average() -> None:
    e = torch.randn(5, 4, 7)
    expected = ((e - e.mean(dim=1, keepdim=True)) ** 2).mean(dim=2).mean(dim=1).mean()
    torch.testing.assert_close(mutual_distillation(e), expected)


@pytest.mark.parametrize("experts", [1, 2, 3, 5])
def test_all_active_is_the_same_as_no_mask(experts: int) -> None:
    e = torch.randn(6, experts, 4)
    torch.testing.assert_close(mutual_distillation(e, torch.ones(6, experts, dtype=torch.bool)), mutual_distillation(e))


def test_idle_experts_do_not_count_even_if_not_finite() -> None:
    e = torch.randn(4, 4, 3)
    active = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]]).bool()
    pair, three = e[0:1, :2], e[1:2, 1:]
    expected = (mutual_distillation(pair) + mutual_distillation(three)) / 2  # the last two rows have no pair
    spoilt = e.masked_fill(~active.unsqueeze(2), float("nan")).requires_grad_()
    loss = mutual_distillation(spoilt, active)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.isfinite(spoilt.grad).all()
    assert (spoilt.grad[~active] == 0).all()
    assert (spoilt.grad[2:] == 0).all()


def test_one_expert_or_no_pair_has_nothing_to_distil() -> None:
    assert mutual_distillation(torch.randn(3, 1, 5)).item() == 0
    assert mutual_distillation(torch.randn(3, 2, 5), torch.tensor([[True, False]] * 3)).item() == 0


@pytest.mark.parametrize("experts", [2, 3, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_by_finite_differences(experts: int, masked: bool) -> None:
    torch.manual_seed(0)
    e = torch.randn(4, experts, 3, dtype=torch.double, requires_grad=True)
    active = torch.rand(4, experts) < 0.7 if masked else None
    assert torch.autograd.gradcheck(lambda outputs: mutual_distillation(outputs, active), (e,))


@pytest.mark.parametrize("space", ["outputs", "logits", "probabilities", "embeddings"])
def test_gradients_of_the_whole_loss_by_finite_differences(space: str) -> None:
    torch.manual_seed(0)
    head = nn.Linear(3, 4).double()
    labels = torch.tensor([0, 3])

    def loss(e: Tensor, weights: Tensor) -> Tensor:
        task = nn.functional.cross_entropy(head((weights.unsqueeze(2) * e).sum(dim=1)), labels)
        return distilled_loss(task, in_space(e, space, head), 0.3)  # type: ignore[arg-type]

    e = torch.randn(2, 3, 3, dtype=torch.double, requires_grad=True)
    weights = torch.rand(2, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (e, weights))


def test_alpha_0_is_the_task_loss_itself() -> None:
    task = torch.tensor(1.5)
    assert distilled_loss(task, torch.full((2, 2, 3), float("inf")), 0.0) is task
    assert distilled_loss(task, torch.tensor([[[1.0], [3.0]]]), 0.5).item() == pytest.approx(1.5 + 0.5 * 4)


def test_spaces() -> None:
    e = torch.randn(5, 2, 8)
    head = nn.Linear(8, 3)
    assert in_space(e, "outputs") is e
    assert in_space(e, "logits") is e
    assert in_space(e, "embeddings", head) is e
    torch.testing.assert_close(in_space(e, "logits", head)[:, 1], head(e[:, 1]))
    torch.testing.assert_close(in_space(e, "probabilities", head)[:, 0], head(e[:, 0]).softmax(dim=1))
    torch.testing.assert_close(in_space(e, "probabilities").sum(dim=2), torch.ones(5, 2))
    with pytest.raises(InputError, match="this mixture ends the network"):
        in_space(e, "embeddings")


def test_half_precision_outputs_are_compared_in_full() -> None:
    e = torch.tensor([[[300.0], [-300.0]]], dtype=torch.float16)  # the square, 360000, is beyond float16
    assert mutual_distillation(e).item() == 360000


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"needs \(B, K, D\)"):
        mutual_distillation(torch.randn(3, 2))
    with pytest.raises(InputError, match=r"needs \(3, 2\)"):
        mutual_distillation(torch.randn(3, 2, 4), torch.ones(3, 3, dtype=torch.bool))
