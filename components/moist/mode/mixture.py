"""The mixture-of-experts layer: any expert networks under a dense or a sparse gate (MoDE paper, equation 1)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from moist.errors import InputError
from moist.mode.gates import DenseGate, Routing, SparseGate


class MixtureOutput(NamedTuple):
    """What the layer gives for B inputs, each seen by K of E experts; D... is the shape of an expert's output."""

    output: Tensor
    """float (B, D...): the weighted sum of the expert outputs"""
    weights: Tensor
    """float (B, E): the gate's weight of every expert, 0 where it did not run"""
    expert_outputs: Tensor
    """float (B, K, D...): the outputs of the chosen experts, 0 where not active; K = E, in order, for a dense gate"""
    routing: Routing
    """which experts these are, which are active, and the gate's probabilities (for load_balance_loss)"""


class MixtureOfExperts(nn.Module):
    """h = sum of g_i(x) e_i(x) over the experts that the gate chose (equation 1).

    An expert maps (n, ...) to (n, D...), the same D... for all of them, each row on its own. Under a sparse gate an
    expert runs once, on the inputs that were routed to it, and not at all when there are none. Sequences are flattened
    to tokens first: `mixture(x.reshape(-1, width))`.
    """

    def __init__(self, experts: Sequence[nn.Module], gate: DenseGate | SparseGate) -> None:
        """Raises InputError when there is no expert, or the gate is for another number of experts."""
        super().__init__()
        if len(experts) == 0 or len(experts) != gate.experts:
            raise InputError(f"the gate weighs {gate.experts} experts, but {len(experts)} were given.")
        self.experts = nn.ModuleList(experts)
        self.gate = gate

    def forward(self, x: Tensor, noise: Tensor | None = None) -> MixtureOutput:
        """Run x, float (B, ...). `noise`: standard normal (B, E) for a sparse gate in training; drawn if not given."""
        routing: Routing = self.gate(x, noise)
        if self.gate.top_k == len(self.experts):
            outputs = torch.stack([expert(x) for expert in self.experts], dim=1)
            if isinstance(self.gate, SparseGate):
                outputs = outputs[torch.arange(x.shape[0], device=x.device).unsqueeze(1), routing.experts]
                outputs = outputs * _like(routing.active, outputs)
        else:
            outputs = self._run_chosen(x, routing)
        output = (_like(routing.weights, outputs) * outputs).sum(dim=1)
        weights = torch.zeros_like(routing.probabilities).scatter(1, routing.experts, routing.weights)
        return MixtureOutput(output, weights, outputs, routing)

    def _run_chosen(self, x: Tensor, routing: Routing) -> Tensor:
        """The outputs of the chosen experts, (B, K, D...): inputs sorted by expert, one call an expert, sorted back."""
        count, top_k = len(self.experts), self.gate.top_k
        chosen = routing.experts.masked_fill(~routing.active, count).flatten()  # the dropped sort last
        order = chosen.argsort(stable=True)
        sizes = torch.zeros(count + 1, dtype=chosen.dtype, device=x.device).index_add(
            0, chosen, torch.ones_like(chosen)
        )
        *lengths, dropped = sizes.tolist()
        groups = torch.split(x[order // top_k], [*lengths, dropped])
        exporting = torch.compiler.is_exporting()  # an exported graph cannot skip an expert: it runs on no rows
        results = [
            expert(group) for expert, group in zip(self.experts, groups, strict=False) if exporting or len(group)
        ]
        together = torch.cat(results or [self.experts[0](groups[0])])  # an empty batch still has a shape
        scattered = together.new_zeros(chosen.shape[0], *together.shape[1:])
        scattered = scattered.index_copy(0, order[: together.shape[0]], together)
        return scattered.view(x.shape[0], top_k, *together.shape[1:])


def _like(per_expert: Tensor, outputs: Tensor) -> Tensor:
    """(B, K) shaped to multiply (B, K, D...)."""
    return per_expert.reshape(*per_expert.shape, *[1] * (outputs.dim() - 2))
