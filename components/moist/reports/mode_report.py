"""The report of a MoDE run: one HTML file that needs nothing else, neither network nor script."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from moist.mode.comparison import Comparison, probed, probes
from moist.mode.results import TableResults
from moist.reports import mode_plots
from moist.reports.documents import Drawing, Figure, Table, document
from moist.reports.labels import printable
from moist.reports.mode_tables import (
    caveat,
    claims_table,
    image_notes,
    names,
    notes,
    strengths_5,
    table_3,
    table_5,
    table_6,
    table_7,
)
from moist.reports.translation_tables import table_4, translation_notes


class Run(NamedTuple):
    """What a report says of the run itself."""

    device: str
    versions: dict[str, str]
    inputs: list[tuple[str, str, str]]
    """task, digest and seconds of each data set's results"""


def mode_report(comparison: Comparison, tables: Sequence[TableResults], shown: Sequence[float], run: Run) -> str:
    """The report as the text of one HTML document; the same results give the same text."""
    return document("mode_report.html", _context(comparison, tables, shown, run))


def _context(
    comparison: Comparison, tables: Sequence[TableResults], shown: Sequence[float], run: Run
) -> dict[str, Any]:
    draw = Drawing()
    broken = [claim for claim in comparison.claims if claim.verdict == "does not hold"]
    open_ = [claim for claim in comparison.claims if claim.verdict == "not settled"]
    return {
        "names": names(comparison),
        "comparison": comparison,
        "caveat": caveat(comparison),
        "holding": len(comparison.claims) - len(broken) - len(open_),
        "broken": broken,
        "open": open_,
        "claims": claims_table(comparison.claims),
        "three": table_3(comparison),
        "seven": table_7(comparison),
        "six": table_6(tables, shown),
        "five": table_5(comparison),
        "five_strengths": strengths_5(comparison),
        "four": table_4(comparison.translations),
        "translation_notes": [note for line in comparison.translations for note in translation_notes(line)],
        "image_notes": [sentence for line in comparison.images for sentence in image_notes(line)],
        "differences": draw(
            "MoDE − MoE on the test rows in points, paired by seed; lines are 95% intervals. Right of 0, distillation "
            "helps; a line that crosses 0 settles nothing.",
            "Differences of accuracy with intervals, one a table and mixture.",
            mode_plots.differences,
            comparison,
        )
        if any(line.choices for line in comparison.lines)
        else None,
        "strengths": _strengths(tables, draw),
        **_analysis(tables, shown, draw),
        "notes": [sentence for line in comparison.lines for sentence in notes(line)],
        "training": tables[0].variants[0].training,
        "seconds": sum(variant.seconds for table in tables for variant in table.variants),
        "trained": sum(len(variant.seeds) * len(variant.alphas) for table in tables for variant in table.variants),
        "lineage": Table(["results of", "digest", "seconds"], [list(entry) for entry in run.inputs], numbers=False),
        "run": run,
    }


def _strengths(tables: Sequence[TableResults], draw: Drawing) -> list[Figure]:
    """Fig 4 for every mixture that was trained at enough strengths to call it a curve."""
    return [
        draw(
            f"{table.table}, {variant.architecture.label}",
            f"Test accuracy against distillation strength on {table.table}.",
            mode_plots.strengths,
            variant,
            note=f"mean of {len(variant.seeds)} seeds",
        )
        for table in tables
        for variant in table.variants
        if len(variant.alphas) > 3 and 0.0 in variant.alphas
    ]


def _analysis(tables: Sequence[TableResults], shown: Sequence[float], draw: Drawing) -> dict[str, Any]:
    """Figs 1 and 3, of the table and mixture that are analysed."""
    empty: dict[str, Any] = {"analysed": "", "domains": [], "vision": [], "first_seed": 0}
    found = probed(tables)
    if found is None:
        return empty
    table, variant = found
    domains = [
        draw(
            f"α = {alpha:g}",
            f"Which expert dominates the test rows of each class at alpha {alpha:g}.",
            mode_plots.domains,
            each[0].domain_by_class,
            table.classes,
            note=f"{_agreement(each[0].consistency)}",
        )
        for alpha in shown
        if (each := probes(variant, alpha))
    ]
    measured = {alpha: one for alpha, one in zip(variant.alphas, variant.narrow_vision, strict=False) if alpha in shown}
    vision = []
    if measured:
        vision = [
            draw(
                "Of the gradient that the inputs which an expert dominates give (its subset), each expert's share; "
                f"mean norms over epochs and {len(variant.seeds)} seeds.",
                "Stacked bars: each expert's share of each subset's gradient in percent.",
                mode_plots.gradient_bars,
                measured,
            ),
            draw(
                "The share that a subset's own expert gets, by epoch. Dashed: an even split.",
                "Lines: own expert's share of its subset's gradient by epoch.",
                mode_plots.own_share_by_epoch,
                measured,
            ),
        ]
    return {
        "analysed": f"{printable(table.table)}, {variant.architecture.label}",
        "domains": domains,
        "vision": vision,
        "first_seed": variant.seeds[0],
    }


def _agreement(consistency: float | None) -> str:
    return "" if consistency is None else f"experts agree on {100 * consistency:.1f}% of the test rows"
