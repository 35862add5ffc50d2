"""Narrow vision: how much each part of the training set teaches each expert (MoDE paper, Fig 1)."""

import torch
from torch import Tensor

from moist.errors import InputError
from moist.mode.distillation import distillation_per_input
from moist.mode.table_mixtures import BatchedMixtures, with_one
from moist.mode.table_training import batched_task_loss


def gradient_norms(mixtures: BatchedMixtures, x: Tensor, labels: Tensor, alphas: Tensor) -> Tensor:
    """How strongly each expert's subset pulls at each expert, float (S, V, subsets E, experts E), all 0 or more.

    Subset a is the inputs that expert a dominates. The pull is the norm of the gradient that the summed loss of the
    subset (L_task + alpha * L_KD, equation 8) gives to the expert's parameters, 0 for an empty subset. `x`: float
    (S, n, D); `labels`: int64 (S, n); `alphas`: float (V,). The mixtures keep their gradients as they were.
    """
    E = mixtures.model.experts
    output = mixtures(with_one(x))
    loss = batched_task_loss(output, labels)
    if bool(alphas.any()):
        loss = loss + alphas[:, None] * distillation_per_input(output.compared)
    dominating = output.weights.argmax(dim=-1)
    parameters = (mixtures.input_weight, mixtures.output_weight, mixtures.output_bias)
    norms = []
    for subset in range(E):
        total = (loss * (dominating == subset)).sum()
        first, last, bias = torch.autograd.grad(total, parameters, retain_graph=subset < E - 1)
        hidden = first[..., : E * mixtures.model.hidden].reshape(*first.shape[:3], E, -1)  # (S, D + 1, V, E, H)
        squares = hidden.square().sum(dim=(1, 4)) + last.square().sum(dim=(3, 4)) + bias.square().sum(dim=(3, 4))
        norms.append(squares.sqrt())
    return torch.stack(norms, dim=2)


def gradient_shares(norms: Tensor) -> Tensor:
    """Each expert's share of a subset's pull, float (..., subsets, experts), rows sum to 1; NaN where all are 0.

    Raises InputError for negative norms.
    """
    if bool((norms < 0).any()):
        raise InputError("gradient norms are 0 or more, but a negative one was given.")
    return norms / norms.sum(dim=-1, keepdim=True)
