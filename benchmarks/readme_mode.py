"""The README's tables of MoDE, from benchmarks/results/: as the pipeline's own report makes them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moist.mode.claims import points
from moist.mode.comparison import TABLE_6_ON, Comparison, accuracies, compare_results, probed
from moist.mode.paper import TABLE_3
from moist.mode.results import ImageResults, TableResults
from moist.mode.statistics import Paired, Summary
from moist.pipelines.mode import TWO
from moist.reports.documents import Table
from moist.reports.mode_tables import (
    caveat,
    claims_table,
    image_notes,
    markdown,
    spread,
    strengths_5,
    table_3,
    table_5,
    table_6,
    table_7,
)
from moist.runtime.common_settings import numbers

SHOWN = (0.0, 0.01, 100.0)
"""The strengths of Table 6."""


def tables(results: Path) -> str:
    """Table 3, and what holds of it."""
    record = read(results, "mode-tables")
    comparison = compared(measured_tables(record))
    of_table_3 = [claim for claim in comparison.claims if "Table 3" in claim.claim]
    note = (
        "Test accuracy in percent, mean ± standard deviation; differences in points. isolet1 is one of Isolet's five "
        f"parts: the paper's row is of all five. {caveat(comparison)} {measured(record)}"
    )
    return "\n".join(
        [markdown(table_3(comparison)), "", note, "", markdown(claims_table(of_table_3)), "", slower(results)]
    )


def slower(results: Path) -> str:
    """Why one mean is not the paper's."""
    record = read(results, "mode-tables-satimage-lr1e-3")
    (line,) = compared(measured_tables(record)).lines
    if line.single is None:
        return ""
    away = 100 * (line.single.mean - TABLE_3[line.table].single[0])
    gains = [f"{choice.architecture.gate} {points(choice.difference)}" for choice in line.choices]
    return (
        f"The learning rate was chosen on validation rows, and {line.table} is better here than in the paper: at "
        f"{record['settings']['learning_rate']:g}, in as many epochs, one expert alone reaches {spread(line.single)} "
        f"({away:+.2f}), and MoDE − MoE is {', '.join(gains)}."
    )


def analysis(results: Path) -> str:
    """Table 7, Fig 4, Table 6 and Fig 1 of the table that the paper analyses."""
    record = read(results, "mode-tables")
    found = [table for table in measured_tables(record) if table.table == TABLE_6_ON]
    comparison = compared(found)
    more = [claim for claim in comparison.claims if "Table 3" not in claim.claim]
    parts = (table_7(comparison), strengths(found), table_6(found, SHOWN), claims_table(more))
    note = f"{TABLE_6_ON}, {record['results']['n']} runs; the paper's Table 6 is of one run. {measured(record)}"
    return "\n\n".join([*(markdown(part) for part in parts if part is not None), note])


def strengths(found: list[TableResults]) -> Table | None:
    """Fig 4: accuracy at every strength, and the difference to none."""
    analysed = probed(found)
    if analysed is None:
        return None
    variant = analysed[1]
    columns = {alpha: accuracies(variant, alpha) for alpha in variant.alphas}
    gains = [points(Paired.of(values, columns[0.0])) if alpha else "" for alpha, values in columns.items()]
    return Table(
        ["α (Fig 4)", *(f"{alpha:g}" for alpha in columns)],
        [["accuracy", *(spread(Summary.of(values)) for values in columns.values())], ["to α = 0", *gains]],
    )


def images(results: Path) -> str:
    """Table 5 from every mode-vision file."""
    records = [json.loads(path.read_text()) for path in sorted(results.glob("mode-vision-*.json"))]
    found = [
        ImageResults.model_validate({name: value for name, value in record["results"].items() if name != "n"})
        for record in records
    ]
    comparison = compared(measured_tables(read(results, "mode-tables")), found)
    parts = [markdown(part) for part in (table_5(comparison), strengths_5(comparison)) if part is not None]
    notes = " ".join(sentence for line in comparison.images for sentence in image_notes(line))
    commits = ", ".join(f"{record['commit'][:9]} ({line.images})" for line, record in zip(found, records, strict=True))
    where = measured(records[-1], f"commits {commits}")
    return "\n\n".join([parts[0], "MoDE − MoE at every strength:", *parts[1:], f"{notes} {where}"])


def measured_tables(record: dict[str, Any]) -> list[TableResults]:
    """What benchmarks/mode_tables.py measured."""
    return [TableResults.model_validate(table) for table in record["results"]["tables"]]


def compared(found: list[TableResults], pictures: list[ImageResults] | None = None) -> Comparison:
    """As the pipeline compares, alpha chosen among the paper's."""
    return compare_results(found, numbers(TWO), pictures or [])


def speed(results: Path) -> str:
    """What the batched trainer and the sparse gate save."""
    batched, gate = read(results, "mode_batched"), read(results, "mode_sparse_gate")
    lines = ["| | times faster | of n | milliseconds |", "| --- | ---: | ---: | ---: |"]
    what = [(f"one batched model against a loop: {name}", one) for name, one in batched["results"].items()]
    named = {
        "all_experts": "top-2 of 10 experts against all 10",
        "mixture_of_experts": "the same against PyPI's mixture-of-experts",
    }
    what += [(named[name], one) for name, one in gate["results"].items()]
    for name, one in what:
        spent = f"{1e3 * one['slow_seconds_median']:.0f} → {1e3 * one['fast_seconds_median']:.0f}"
        between = f"{one['ratio_median']:.1f} ({one['ratio_min']:.1f} to {one['ratio_max']:.1f})"
        lines.append(f"| {name} | {between} | {one['n']} | {spent} |")
    return "\n".join([*lines, "", f"Median (least to largest) of paired timings, both in turn. {measured(batched)}"])


MAKERS: dict[str, Callable[[Path], str]] = {
    "mode-tables": tables,
    "mode-analysis": analysis,
    "mode-images": images,
    "mode-speed": speed,
}


def read(results: Path, name: str) -> dict[str, Any]:
    """A record as record.write left it."""
    record: dict[str, Any] = json.loads((results / f"{name}.json").read_text())
    return record


def measured(record: dict[str, Any], code: str = "") -> str:
    """Where a record comes from; `code` is given where it stands for several."""
    return (
        f"Measured on {record['device']}, {record['threads']} thread{'s' if record['threads'] > 1 else ''}, torch "
        f"{record['versions']['torch']}, {code or 'commit ' + record['commit'][:9]}."
    )
