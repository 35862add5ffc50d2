"""Gates: how a mixture weighs its experts for each input (MoDE paper, equations 3 and 4)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from moist.errors import InputError


class Routing(NamedTuple):
    """What a gate decides for a batch: K experts for each of B inputs, out of E."""

    weights: Tensor
    """float (B, K): the weight of each chosen expert, 0 where it is not active"""
    experts: Tensor
    """int64 (B, K): which experts were chosen, 0 to E - 1, K different ones for each input"""
    active: Tensor
    """bool (B, K): False where the expert was full (capacity) and does not see the input"""
    probabilities: Tensor
    """float (B, E): softmax of the gate's scores, before noise and choice; its rows sum to 1"""


class DenseGate(nn.Module):
    """Every expert weighs in, by softmax(f(x)) with a linear f (equation 3). Inputs are flattened to (B, features)."""

    def __init__(self, features: int, experts: int) -> None:
        super().__init__()
        self.experts = self.top_k = experts
        self.score = nn.Linear(features, experts)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Routing:
        """Weigh all experts for x, float (B, ...). `noise` is taken so that gates are interchangeable, and ignored."""
        probabilities = _softmax(self.score(x.flatten(1)))
        experts = torch.arange(self.experts, device=x.device).expand(x.shape[0], -1)
        return Routing(probabilities, experts, torch.ones_like(experts, dtype=torch.bool), probabilities)


class SparseGate(nn.Module):
    """The K heaviest experts weigh in, by TopK(softmax(f(x)) + eps), eps ~ N(0, 1/E^2) (equation 4).

    Noise is added in training only. The weights are those of equation 4: the kept values themselves, not normalised to
    sum to 1. Among equally heavy experts the first wins.
    """

    def __init__(self, features: int, experts: int, top_k: int, capacity_factor: float | None = None) -> None:
        """`capacity_factor`: in training an expert takes at most ceil(factor * B * K / E) inputs of a batch, the
        heaviest first, so that 1.0 is an even share; None is no limit. Evaluation has no limit: an answer never depends
        on what else is in the batch.

        Raises InputError for a top_k outside 1 to `experts`, or a capacity factor that is not positive.
        """
        super().__init__()
        check_top_k(top_k, experts)
        if capacity_factor is not None and not capacity_factor > 0:
            raise InputError(f"capacity_factor is {capacity_factor}: give a number above 0, or None for no limit.")
        self.experts, self.top_k, self.capacity_factor = experts, top_k, capacity_factor
        self.score = nn.Linear(features, experts)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Routing:
        """Choose experts for x, float (B, ...). `noise`: standard normal (B, E), drawn here if not given."""
        probabilities = _softmax(self.score(x.flatten(1)))
        weights = probabilities
        if self.training:
            noise = torch.randn_like(probabilities) if noise is None else noise
            weights = probabilities + noise / self.experts
        weights, experts = heaviest(weights, self.top_k)
        if self.training and self.capacity_factor is not None:
            capacity = math.ceil(self.capacity_factor * experts.numel() / self.experts)
            active = _within_capacity(weights, experts, self.experts, capacity)
        else:
            active = torch.ones_like(experts, dtype=torch.bool)
        return Routing(weights.masked_fill(~active, 0), experts, active, probabilities)


def _softmax(scores: Tensor) -> Tensor:
    """Softmax over experts in float32 or better: autocast would leave 8 bits to choose by."""
    return scores.softmax(dim=1, dtype=torch.promote_types(scores.dtype, torch.float32))


def check_top_k(top_k: int, experts: int) -> None:
    """Raises InputError unless 1 <= top_k <= experts."""
    if not 1 <= top_k <= experts:
        raise InputError(f"top_k is {top_k}, but the mixture has {experts} experts: give a number from 1 to {experts}.")


def heaviest(weights: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The top_k largest of the last dimension, with their indices (..., top_k); ties go to the lower index.

    torch.topk leaves the order of ties open, and with it which expert learns: a stable sort does not.
    """
    ordered = weights.sort(dim=-1, descending=True, stable=True)
    return ordered.values[..., :top_k], ordered.indices[..., :top_k]


def _within_capacity(weights: Tensor, experts: Tensor, count: int, capacity: int) -> Tensor:
    """Which of the chosen (B, K) are among the `capacity` heaviest of their expert; bool (B, K)."""
    flat = experts.flatten()
    by_weight = weights.flatten().argsort(descending=True, stable=True)
    order = by_weight[flat[by_weight].argsort(stable=True)]  # grouped by expert, the heaviest first in each group
    sizes = torch.zeros(count, dtype=flat.dtype, device=flat.device).index_add(0, flat, torch.ones_like(flat))
    first = sizes.cumsum(0) - sizes
    place = torch.arange(len(flat), device=flat.device) - first[flat[order]]
    return torch.empty_like(flat, dtype=torch.bool).index_copy(0, order, place < capacity).view_as(experts)


def load_balance_loss(routing: Routing) -> Tensor:
    """E * sum over experts of (share of choices that fell on it) * (its mean probability): 1 when even, up to E.

    Scalar; differentiable through the probabilities. Source: Fedus, Zoph and Shazeer 2022, equations 4 to 6, with the
    choices of top-K counted alike.
    """
    probabilities, chosen = routing.probabilities, routing.experts.flatten()
    ones = torch.ones_like(chosen, dtype=probabilities.dtype)
    share = probabilities.new_zeros(probabilities.shape[1]).index_add(0, chosen, ones) / len(chosen)
    return probabilities.shape[1] * (share * probabilities.mean(dim=0)).sum()
