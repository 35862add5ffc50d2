"""Table 3 of the MoDE paper on table files: python benchmarks/mode_tables.py FILE ... [--write].

Also, on mfeat-karhunen if it is among them, what Tables 6 and 7 and Figs 1 and 4 need. All is trained and compared as
by `pipeline.py run --pipeline mode`. With --write, what came out goes to benchmarks/results/mode-tables.json; n is the
number of seeds.
"""

import argparse

import torch
from moist.mode.comparison import TABLE_6_ON, compare_results
from moist.mode.model_names import parse_model_name
from moist.mode.results import TableResults, VariantResults
from moist.mode.table_experiment import probe_variant, table_results, train_variant
from moist.mode.table_mixtures import TableModel
from moist.mode.table_training import TableTraining
from moist.mode.tables import Table, load_table
from moist.pipelines.mode import TWO, VARIANTS
from moist.reports.mode_tables import mode_text
from moist.runtime.common_settings import numbers
from record import seconds, write

TABLE_3_MODELS = {"single", "dense-2", "sparse-10-2"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", help="files, or names as in moist.mode.tables.load_table")
    parser.add_argument("--runs", type=int, default=10, help="seeds, from 0")
    parser.add_argument("--epochs", type=int, default=TableTraining().epochs)
    parser.add_argument("--learning-rate", type=float, default=TableTraining().learning_rate)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--name", default="mode-tables", help="of the file under benchmarks/results")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    training = TableTraining(epochs=options.epochs, learning_rate=options.learning_rate)
    tables = [load_table(source) for source in options.tables]
    found: list[TableResults] = []
    spent = seconds(lambda: found.extend(measured(table, training, options.runs) for table in tables))
    print(mode_text(compare_results(found, numbers(TWO)), found, [0.0, 0.01, 100.0]))
    if options.write:
        results = {"n": options.runs, "seconds": spent, "tables": [table.model_dump() for table in found]}
        print(write(options.name, results, {**vars(options), "tables": [table.name for table in tables]}))


def measured(table: Table, training: TableTraining, runs: int) -> TableResults:
    """Table 3's mixtures of a table; on the one that the paper analyses, all that the pipeline trains by default."""
    variants = []
    for one in VARIANTS:
        if table.name == TABLE_6_ON:
            alphas, look = numbers(one["alphas"]), one["narrow_vision"] == "measure"
        elif one["model"] in TABLE_3_MODELS:
            alphas, look = [alpha for alpha in numbers(one["alphas"]) if alpha in numbers(TWO)], False
        else:
            continue
        model = TableModel(**parse_model_name(one["model"])._asdict())
        variants.append(variant(table, model, training, alphas, runs, look))
        print(f"{table.name}, {variants[-1].architecture.label}: {variants[-1].seconds:.0f} s", flush=True)
    return table_results(table, variants)


def variant(
    table: Table, model: TableModel, training: TableTraining, alphas: list[float], runs: int, look: bool
) -> VariantResults:
    """Train a mixture with all seeds and alphas; with `look`, also measure narrow vision and probe the experts."""
    trained, results = train_variant(table, model, training, alphas, range(runs), narrow_vision=look)
    return probe_variant(trained.model, results, table) if look else results


if __name__ == "__main__":
    main()
