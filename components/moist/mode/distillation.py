"""Mutual distillation among experts (MoDE paper, equations 8 to 10) and the spaces in which they are compared."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from moist.errors import InputError

Space = Literal["outputs", "logits", "probabilities", "embeddings"]


def distillation_per_input(expert_outputs: Tensor, active: Tensor | None = None) -> Tensor:
    """How far the experts of each input are apart; float (...) for expert_outputs (..., K, D).

    With two active experts mean((e_1 - e_2)^2) (equation 9); with more, the mean over them of mean((e_i - e_avg)^2)
    (equation 10), which for two would be a quarter of equation 9; with one or none, 0. `active`: bool (..., K), which
    experts take part, None for all. Computed in float32 or better.
    """
    e = expert_outputs.float() if expert_outputs.dtype in (torch.float16, torch.bfloat16) else expert_outputs
    if active is None:
        count = e.shape[-2]
        if count < 2:
            return e.sum(dim=(-2, -1)) * 0
        if count == 2:
            first, second = e.unbind(dim=-2)
            return F.mse_loss(first, second, reduction="none").mean(dim=-1)
        return (e - e.mean(dim=-2, keepdim=True)).square().mean(dim=(-2, -1))
    idle = ~active.unsqueeze(-1)
    e = e.masked_fill(idle, 0)  # what an idle expert holds, even NaN, must not count
    present = active.sum(dim=-1)
    divisor = present.clamp(min=1)
    average = e.sum(dim=-2) / divisor.unsqueeze(-1)
    apart = (e - average.unsqueeze(-2)).masked_fill(idle, 0).square().mean(dim=-1).sum(dim=-1) / divisor
    return torch.where(present == 2, 4 * apart, apart)


def mutual_distillation(expert_outputs: Tensor, active: Tensor | None = None) -> Tensor:
    """The distillation loss L_KD of a batch (equations 9 and 10); scalar.

    `expert_outputs`: float (B, K, D), what K experts (or MoIST's students) make of the same B inputs, in the space in
    which they are to be compared. `active`: bool (B, K), False where an expert did not see the input (sparse gates,
    capacity); None when all did. Inputs with fewer than two active experts have nothing to distil and are left out of
    the mean.

    Raises InputError for shapes that do not fit.
    """
    if expert_outputs.dim() != 3:
        raise InputError(
            f"expert_outputs has shape {tuple(expert_outputs.shape)}: mutual distillation needs (B, K, D)."
        )
    if active is None:
        return distillation_per_input(expert_outputs).mean()
    if active.shape != expert_outputs.shape[:2]:
        raise InputError(
            f"active has shape {tuple(active.shape)}, but expert_outputs {tuple(expert_outputs.shape)} needs "
            f"{tuple(expert_outputs.shape[:2])}."
        )
    paired = (active.sum(dim=1) >= 2).sum().clamp(min=1)
    return distillation_per_input(expert_outputs, active).sum() / paired


def in_space(expert_outputs: Tensor, space: Space, head: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Bring expert outputs (B, K, D) into the space that a setting names; float (B, K, D').

    "outputs": as they are. "embeddings": as they are too, for a layer inside a network. "logits": what `head`, the rest
    of the network, makes of each expert alone; without a head the outputs are the logits. "probabilities": softmax of
    these logits.

    Raises InputError for "embeddings" without a head: the last layer's outputs are no embeddings.
    """
    if space == "embeddings" and head is None:
        raise InputError(
            "space is 'embeddings', but this mixture ends the network: use outputs, logits or probabilities."
        )
    if space in ("outputs", "embeddings"):
        return expert_outputs
    logits = expert_outputs
    if head is not None:
        logits = head(expert_outputs.flatten(0, 1)).view(*expert_outputs.shape[:2], -1)
    return logits.softmax(dim=-1) if space == "probabilities" else logits


def distilled_loss(task: Tensor, expert_outputs: Tensor, alpha: float, active: Tensor | None = None) -> Tensor:
    """L = L_task + alpha * L_KD (equation 8); scalar. With alpha 0 it is `task` itself, and nothing is distilled."""
    return task if alpha == 0 else task + alpha * mutual_distillation(expert_outputs, active)
