"""How much faster one batched model trains 10 seeds than a loop: python benchmarks/mode_batched.py [--write]."""

import argparse
from typing import Any

import torch
from mode_record import paired, sentence, write
from moist.mode.table_mixtures import DENSE, SINGLE, SPARSE
from moist.mode.table_training import TableTraining, train_batched, train_one
from moist.mode.tables import load_table


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
    for model in (SINGLE, DENSE, SPARSE):

        def loop(model=model) -> None:  # type: ignore[no-untyped-def]
            for seed in seeds:
                train_one(table, model, training, 0.01, seed)

        def batched(model=model) -> None:  # type: ignore[no-untyped-def]
            train_batched(table, model, training, [0.01], seeds)

        results[model.gate] = paired(loop, batched, options.repeats)
        print(f"{model.gate} gate, {options.seeds} seeds: {sentence(results[model.gate])}", flush=True)
    if options.write:
        print(write("mode_batched", results, vars(options)))


if __name__ == "__main__":
    main()
