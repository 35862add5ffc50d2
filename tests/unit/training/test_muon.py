"""Muon on kernels: each turns by as much in every direction, whatever the size of its gradient."""

import math

import pytest
import torch
from moist.training.muon import SGD_RATE, KernelMuon
from torch import Tensor, nn

RATE = 0.1


def kernel(rows: int = 8, channels: int = 4) -> nn.Parameter:
    torch.manual_seed(3)
    return nn.Parameter(torch.randn(rows, channels, 3, 3).contiguous(memory_format=torch.channels_last))


def flat(value: Tensor) -> Tensor:
    """As the optimizer sees it: any order of the columns will do."""
    return value.detach().flatten(1)


def test_a_step_turns_a_kernel_by_the_learning_rate_in_every_direction() -> None:
    """Newton-Schulz leaves singular values between about 0.7 and 1.2, of a gradient however small."""
    weights = kernel()
    before = flat(weights).clone()
    weights.grad = 1e-6 * torch.randn_like(weights)
    KernelMuon([weights], [{"params": [nn.Parameter(torch.zeros(1))]}], RATE).step()
    scaled = before * math.sqrt(len(before)) / before.norm()
    turned = torch.linalg.svdvals((scaled - flat(weights)) / RATE)
    assert turned.min() > 0.5
    assert turned.max() < 1.4


def test_the_gradient_s_directions_are_kept() -> None:
    """Of a gradient with orthogonal rows of one length nothing changes but the length."""
    weights = kernel(rows=3)
    before = flat(weights).clone()
    orthogonal = torch.linalg.qr(torch.randn(36, 3)).Q.T
    weights.grad = orthogonal.reshape(3, 4, 3, 3)
    KernelMuon([weights], [{"params": [nn.Parameter(torch.zeros(1))]}], RATE).step()
    moved = (before * math.sqrt(3) / before.norm() - flat(weights)) / RATE
    assert torch.cosine_similarity(moved, orthogonal).min() > 0.99


def test_the_rest_is_trained_by_sgd_at_a_rate_of_its_own() -> None:
    bias = nn.Parameter(torch.zeros(2))
    optimizer = KernelMuon([kernel()], [{"params": [bias], "weight_decay": 0.0}], RATE)
    scales = [group.get("scale", 1.0) for group in optimizer.param_groups]
    assert scales == [1.0, SGD_RATE]
    bias.grad = torch.ones(2)
    optimizer.step()
    torch.testing.assert_close(bias.detach(), torch.full((2,), -1.9 * RATE))  # Nesterov's first step, momentum 0.9
    optimizer.zero_grad()
    assert bias.grad is None


def test_a_kernel_in_another_memory_order_is_refused() -> None:
    """It would be trained as a copy, and stay as it is."""
    with pytest.raises(RuntimeError, match="view"):
        KernelMuon([nn.Parameter(torch.randn(8, 4, 3, 3))], [], RATE)
