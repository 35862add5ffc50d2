"""Table 3 of the MoDE paper on table files: python benchmarks/mode_tables.py FILE ... [--write].

Also, on mfeat-karhunen if it is among them, else on the first, Table 7, Fig 4, Table 6 and Fig 1. With --write, what
came out goes to benchmarks/results/mode-tables.json; n is the number of seeds.
"""

import argparse
from typing import Any

import torch
from mode_record import seconds, write
from moist.mode.experiments import Comparison, figure_1, figure_4, table_3, table_6, table_7
from moist.mode.statistics import Paired, Summary
from moist.mode.table_training import TableTraining
from moist.mode.tables import load_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", help="files, or names as in moist.mode.tables.load_table")
    parser.add_argument("--runs", type=int, default=10, help="seeds, from 0")
    parser.add_argument("--epochs", type=int, default=TableTraining().epochs)
    parser.add_argument("--learning-rate", type=float, default=TableTraining().learning_rate)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--only-table-3", action="store_true")
    parser.add_argument("--name", default="mode-tables", help="of the file under benchmarks/results")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    training = TableTraining(epochs=options.epochs, learning_rate=options.learning_rate)
    seeds = range(options.runs)
    tables = [load_table(source) for source in options.tables]
    results: dict[str, Any] = {"seeds": list(seeds), "n": options.runs, "training": training.model_dump()}

    def timed(name: str, make: Any) -> Any:
        made = []
        spent = seconds(lambda: made.append(make()))
        results[f"{name}_seconds"] = spent
        print(f"{name}: {spent:.0f} s", flush=True)
        return made[0]

    three = timed("table_3", lambda: table_3(tables, training, seeds))
    results["table_3"] = three.model_dump()
    for row in three.rows:
        print(f"{row.table}: single {summary(row.single)}, dense {compared(row.dense)}, sparse {compared(row.sparse)}")
    print(f"all: dense {points(three.dense_difference)}, sparse {points(three.sparse_difference)}")
    if not options.only_table_3:
        analysed = next((table for table in tables if table.name == "mfeat-karhunen"), tables[0])
        seven = timed("table_7", lambda: table_7([analysed], training, seeds))
        four = timed("figure_4", lambda: figure_4(analysed, training, seeds))
        six = timed("table_6", lambda: table_6(analysed, training, seeds))
        one = timed("figure_1", lambda: figure_1(analysed, training, seeds))
        results |= {
            "analysed": analysed.name,
            "table_7": seven.model_dump(),
            "figure_4": four.model_dump(),
            "table_6": six.model_dump(),
            "figure_1": one.model_dump(),
        }
        for comparison in seven.rows[analysed.name]:
            print(f"{analysed.name}, {comparison.model.experts} experts: {compared(comparison)}")
        for point in four.points:
            print(f"{analysed.name}, alpha {point.alpha:g}: {summary(point.test)}, {points(point.difference)}")
    if options.write:
        named = [table.name for table in tables]
        print(write(options.name, results, {**vars(options), "tables": named}))


def summary(values: Summary) -> str:
    """In percent."""
    return f"{100 * values.mean:.2f}" + ("" if values.std is None else f" ± {100 * values.std:.2f}")


def points(paired: Paired) -> str:
    """In points, with the 95% interval."""
    interval = (
        "" if paired.low is None or paired.high is None else f" [{100 * paired.low:+.2f}, {100 * paired.high:+.2f}]"
    )
    return f"{100 * paired.mean:+.2f}{interval}"


def compared(comparison: Comparison) -> str:
    """Both accuracies and their difference."""
    return (
        f"MoE {summary(comparison.moe)}, MoDE {summary(comparison.mode)} ({points(comparison.difference)}, "
        f"alpha {comparison.alpha:g})"
    )


if __name__ == "__main__":
    main()
