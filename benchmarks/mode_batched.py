"""How much faster one batched model trains 10 seeds than a loop: python benchmarks/mode_batched.py [--write]."""

import argparse
import itertools
from typing import Any

import torch
from moist.mode.table_mixtures import DENSE, SINGLE, SPARSE, TableModel
from moist.mode.table_training import TableTraining, train_batched, train_one
from moist.mode.tables import load_table
from record import paired, sentence, write

ALPHAS = [0.0, 0.01, 0.1]
"""What one gate's experiment of Table 3 trains: MoE, and MoDE with the paper's two strengths."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", default="digits", help="as moist.mode.tables.load_table takes it")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, for both")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/mode_batched.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = load_table(options.table)
    training = TableTraining(epochs=options.epochs, keep="last")
    seeds = range(options.seeds)
    results: dict[str, Any] = {}
    for model, alphas in ((SINGLE, [0.0]), (DENSE, [0.01]), (SPARSE, [0.01]), (DENSE, ALPHAS), (SPARSE, ALPHAS)):

        def loop(model: TableModel = model, alphas: list[float] = alphas) -> None:
            for seed, alpha in itertools.product(seeds, alphas):
                train_one(table, model, training, alpha, seed)

        def batched(model: TableModel = model, alphas: list[float] = alphas) -> None:
            train_batched(table, model, training, alphas, seeds)

        name = f"{model.gate}, {len(seeds)} seeds x {len(alphas)} alphas"
        results[name] = paired(loop, batched, options.repeats)
        print(f"{name}: {sentence(results[name])}", flush=True)
    if options.write:
        print(write("mode_batched", results, vars(options)))


if __name__ == "__main__":
    main()
