"""The table experiments' networks (T-DMoE, T-SMoE): one as a module, and many of them stacked to run as one."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from moist.frozen import Frozen
from moist.mode.distillation import Space
from moist.mode.gates import DenseGate, SparseGate, check_top_k, heaviest
from moist.mode.mixture import MixtureOfExperts


class TableModel(Frozen):
    """A mixture for tables: experts of features-hidden-classes under a gate on the same features."""

    gate: Literal["single", "dense", "sparse"] = Field(
        default="dense", description="single: one expert, which is the baseline"
    )
    experts: int = Field(default=2, ge=1, le=1024, description="number of experts E (the paper: 2 dense, 10 sparse)")
    top_k: int = Field(default=2, ge=1, description="experts that run for an input under a sparse gate")
    hidden: int = Field(default=16, ge=1, le=65536, description="width of an expert's hidden layer")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.gate == "sparse":
            check_top_k(self.top_k, self.experts)
        if self.gate == "single" and self.experts != 1:
            raise ValueError("a single model has experts=1")
        return self


SINGLE = TableModel(gate="single", experts=1)
DENSE = TableModel(gate="dense", experts=2)
SPARSE = TableModel(gate="sparse", experts=10, top_k=2)


class TableExpert(nn.Sequential):
    """features -> hidden, ReLU, hidden -> classes: float (n, features) to logits (n, classes)."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def embed(self, x: Tensor) -> Tensor:
        """The hidden layer's activations, float (n, hidden)."""
        return self[1](self[0](x))  # type: ignore[no-any-return]


def build_mixture(model: TableModel, features: int, classes: int, seed: int) -> MixtureOfExperts:
    """A fresh mixture, PyTorch's default initialisation drawn from `seed`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        experts = [TableExpert(features, model.hidden, classes) for _ in range(model.experts)]
        if model.gate == "sparse":
            return MixtureOfExperts(experts, SparseGate(features, model.experts, model.top_k))
        return MixtureOfExperts(experts, DenseGate(features, model.experts))


def with_one(x: Tensor) -> Tensor:
    """Features float (..., D) with a last one that is 1, (..., D + 1), as BatchedMixtures takes them."""
    return F.pad(x, (0, 1), value=1.0)


class BatchedOutput(NamedTuple):
    """What S x V mixtures give for B inputs each."""

    logits: Tensor
    """float (S, V, B, C)"""
    weights: Tensor
    """float (S, V, B, E): 0 where an expert is not active"""
    probabilities: Tensor
    """float (S, V, B, E): the gate's softmax"""
    compared: Tensor
    """float (S, V, B, K, D): the active experts' outputs in the model's space, for distillation"""
    expert_logits: Tensor
    """float (S, V, B, E, C): every expert's output, active or not"""


class BatchedMixtures(nn.Module):
    """S x V table mixtures of one shape, run as one: S data sets (seeds), V variants (alphas) on each.

    The V variants of a seed see the same inputs, so their first layers are one matrix product. All experts are
    computed, also under a sparse gate: at this size that costs less than to route. Sums over members leave every
    member's gradients its own, so any elementwise optimizer trains them as if alone.
    """

    def __init__(
        self, model: TableModel, members: Sequence[Sequence[MixtureOfExperts]], space: Space = "logits"
    ) -> None:
        """Stack mixtures as build_mixture makes them: S rows of V."""
        super().__init__()
        self.model, self.space = model, space

        def stacked(name: str) -> Tensor:
            """One parameter of all members: (S, V, ...)."""
            return torch.stack([torch.stack([m.get_parameter(name).detach() for m in row]) for row in members])

        def experts(name: str) -> Tensor:
            """One parameter of all members' experts: (S, V, E, ...)."""
            return torch.stack([stacked(f"experts.{e}.{name}") for e in range(model.experts)], dim=2)

        weights = torch.cat([experts("0.weight").flatten(2, 3), stacked("gate.score.weight")], dim=2)
        biases = torch.cat([experts("0.bias").flatten(2), stacked("gate.score.bias")], dim=2)
        first = torch.cat([weights, biases.unsqueeze(3)], dim=3).permute(0, 3, 1, 2).contiguous()
        # All that looks at the inputs is one product, (S, D + 1, V, E * H + E): E hidden layers, then the gate. The
        # bias is the last input's weight, and that input is 1.
        self.input_weight = nn.Parameter(first)
        self.output_weight = nn.Parameter(experts("2.weight").transpose(3, 4).contiguous())  # (S, V, E, H, C)
        self.output_bias = nn.Parameter(experts("2.bias").unsqueeze(3))  # (S, V, E, 1, C)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> BatchedOutput:
        """Run x, float (S, B, D + 1), whose last feature is 1 (with_one).

        `noise`: standard normal (S, B, E), for a sparse gate in training; without it there is none.
        """
        (S, B, _), E, H = x.shape, self.model.experts, self.model.hidden
        V, C = self.output_weight.shape[1], self.output_weight.shape[4]
        first = torch.bmm(x, self.input_weight.flatten(2)).view(S, B, V, E * H + E)
        hidden, scores = torch.split(first, [E * H, E], dim=3)
        hidden = hidden.view(S, B, V, E, H).permute(0, 2, 3, 1, 4).reshape(S * V * E, B, H).relu()
        logits = torch.baddbmm(self.output_bias.flatten(0, 2), hidden, self.output_weight.flatten(0, 2))
        by_expert = logits.view(S, V, E, B, C)  # in memory order, in which it is mixed fastest
        logits = by_expert.transpose(2, 3)
        scores = scores.permute(0, 2, 3, 1)  # (S, V, E, B)
        probabilities = scores.softmax(dim=2) if E > 1 else torch.ones_like(scores)
        weights, probabilities = probabilities, probabilities.transpose(2, 3)
        compared = hidden.view(S, V, E, B, H).transpose(2, 3) if self.space == "embeddings" else logits
        if self.model.gate == "sparse":
            chosen_from = probabilities
            if self.training and noise is not None:
                chosen_from = probabilities + noise.unsqueeze(1) / E
            kept, chosen = heaviest(chosen_from, self.model.top_k)
            weights = torch.zeros_like(chosen_from).scatter(-1, chosen, kept).transpose(2, 3)
            compared = compared.gather(3, chosen.unsqueeze(-1).expand(*chosen.shape, compared.shape[-1]))
        if self.space == "probabilities":
            compared = compared.softmax(dim=-1)
        mixed = logits.squeeze(3) if self.model.gate == "single" else (weights.unsqueeze(-1) * by_expert).sum(dim=2)
        weights = weights.transpose(2, 3)
        return BatchedOutput(mixed, weights, probabilities, compared, logits)

    def keep_where(self, better: Tensor, snapshot: dict[str, Tensor]) -> None:
        """Copy the parameters of the members where `better`, bool (S, V), into `snapshot`, in place."""
        for name, parameter in self.named_parameters():
            mask = better[:, None, :, None] if parameter.dim() == 4 else better[:, :, None, None, None]
            snapshot[name] = torch.where(mask, parameter.detach(), snapshot[name])

    def member(self, seed: int, variant: int) -> MixtureOfExperts:
        """One mixture as an ordinary module, in evaluation mode; `seed` and `variant` are positions, not values."""
        E, H = self.model.experts, self.model.hidden
        first = self.input_weight[seed, :, variant].T  # (E * H + E, D + 1)
        mixture = build_mixture(self.model, first.shape[1] - 1, self.output_weight.shape[4], 0).to(first.dtype)
        state = {"gate.score.weight": first[E * H :, :-1], "gate.score.bias": first[E * H :, -1]}
        for e in range(E):
            state[f"experts.{e}.0.weight"] = first[e * H : (e + 1) * H, :-1]
            state[f"experts.{e}.0.bias"] = first[e * H : (e + 1) * H, -1]
            state[f"experts.{e}.2.weight"] = self.output_weight[seed, variant, e].T
            state[f"experts.{e}.2.bias"] = self.output_bias[seed, variant, e, 0]
        mixture.load_state_dict(state)
        return mixture.eval()
