"""Sparse dispatch against computing all experts, 10 experts top-2: python benchmarks/mode_sparse_gate.py [--write]."""

import argparse
import importlib.util

import torch
from moist.mode.gates import SparseGate
from moist.mode.mixture import MixtureOfExperts
from record import paired, sentence, write
from torch import Tensor, nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256, help="of inputs and outputs")
    parser.add_argument("--hidden", type=int, default=1024, help="of an expert")
    parser.add_argument("--inputs", type=int, default=1024, help="a batch")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, for all")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/mode_sparse_gate.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    width, hidden = options.width, options.hidden
    experts = [nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width)) for _ in range(10)]
    sparse = MixtureOfExperts(experts, SparseGate(width, 10, 2)).train()
    x = torch.randn(options.inputs, width, requires_grad=True)

    def compute_all() -> Tensor:
        """The same answer with every expert computed, then weighted, most with 0."""
        routing = sparse.gate(x)
        weights = torch.zeros_like(routing.probabilities).scatter(1, routing.experts, routing.weights)
        return (weights.unsqueeze(2) * torch.stack([expert(x) for expert in experts], dim=1)).sum(dim=1)

    def chosen() -> Tensor:
        return sparse(x).output  # type: ignore[no-any-return]

    def step(forward) -> None:  # type: ignore[no-untyped-def]
        sparse.zero_grad()
        forward().sum().backward()

    sparse.eval()
    difference = float((compute_all() - chosen()).detach().abs().max())
    sparse.train()
    results = {"all_experts": paired(lambda: step(compute_all), lambda: step(chosen), options.repeats)}
    print(f"forward and backward, against all 10 experts: {sentence(results['all_experts'])}; same to {difference:.0e}")
    if importlib.util.find_spec("mixture_of_experts") is None:
        print("mixture-of-experts is not installed: pip install mixture-of-experts to compare with it")
    else:
        from mixture_of_experts import MoE  # type: ignore[import-not-found,unused-ignore]

        # Its defaults, but for the second expert, which it would leave out at random. Its capacity drops inputs,
        # which saves it work; ours drops none.
        theirs = MoE(dim=width, num_experts=10, hidden_dim=hidden, second_policy_train="all").train()

        def step_theirs() -> None:
            theirs.zero_grad()
            output, loss = theirs(x.unsqueeze(0))
            (output.sum() + loss).backward()

        results["mixture_of_experts"] = paired(step_theirs, lambda: step(chosen), options.repeats)
        print(f"against mixture-of-experts on PyPI: {sentence(results['mixture_of_experts'])}")
    if options.write:
        print(write("mode_sparse_gate", results, vars(options)))


if __name__ == "__main__":
    main()
