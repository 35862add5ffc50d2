"""The MoDE paper's tables from a run, the paper's own figures beside them, for the page, the terminal and Markdown."""

import html
from collections.abc import Callable, Sequence

import numpy as np

from moist.mode.claims import Claim, points
from moist.mode.comparison import TABLE_6_ON, Choice, Comparison, TableLine, probed, probes
from moist.mode.image_comparison import ImageLine
from moist.mode.paper import TABLE_3, TABLE_5, TABLE_6, TABLE_7, Printed, PrintedProbe
from moist.mode.probing import Probe
from moist.mode.results import TableResults
from moist.mode.statistics import Summary
from moist.reports.documents import Table
from moist.reports.labels import MISSING, fixed, printable
from moist.reports.translation_tables import table_4, translation_notes

PAPER = "paper"
"""The mark of a row that is the paper's."""


def claims_table(claims: Sequence[Claim]) -> Table:
    """What the paper says, what was found, and whether it holds; one mark a verdict."""
    rows = [[printable(claim.claim), printable(claim.here), claim.verdict] for claim in claims]
    marks = [claim.verdict.replace(" ", "-") for claim in claims]
    return Table(["the paper", "here", ""], rows, marks)


def table_3(comparison: Comparison) -> Table:
    """Accuracies in percent, mean and standard deviation; differences in points with their 95% intervals."""
    headings = ["table", "single"]
    for gate in ("dense", "sparse"):
        headings += [f"{gate} MoE", f"{gate} MoDE", "MoDE − MoE", "α"]
    rows, marks = [], []
    for line in comparison.lines:
        cells = [f"{printable(line.table)}, here", spread(line.single)]
        for gate in ("dense", "sparse"):
            choice = line.of(gate)
            cells += _chosen(choice) if choice else [MISSING] * 4
        rows.append(cells)
        marks.append("")
        if line.paper:
            printed = TABLE_3[line.paper]
            cells = [f"{line.paper}, paper", said(printed.single)]
            for moe, mode in ((printed.dense_moe, printed.dense_mode), (printed.sparse_moe, printed.sparse_mode)):
                cells += [said(moe), said(mode), f"{100 * (mode[0] - moe[0]):+.2f}", "0.01, 0.1"]
            rows.append(cells)
            marks.append(PAPER)
    return Table(headings, rows, marks)


def table_5(comparison: Comparison) -> Table | None:
    """As table_3, for images under a dense gate; None where no images were learned."""
    if not comparison.images:
        return None
    headings = ["images", "single", "MoE", "MoDE", "MoE − single", "MoDE − single", "MoDE − MoE", "α"]
    rows, marks = [], []
    for line in comparison.images:
        gains = [points(gain) for gain in (line.moe_over_single, line.mode_over_single, line.difference)]
        cells = [spread(line.single), spread(line.moe), spread(line.mode), *gains, f"{line.alpha:g}"]
        rows.append([f"{printable(line.images)}, here", *cells])
        marks.append("")
        if line.paper:
            single, moe, mode = (100 * value for value in TABLE_5[line.images])
            gains = [f"{gain:+.2f}" for gain in (moe - single, mode - single, mode - moe)]
            rows.append([f"{line.images}, paper", f"{single:.2f}", f"{moe:.2f}", f"{mode:.2f}", *gains, "10"])
            marks.append(PAPER)
    return Table(headings, rows, marks)


def strengths_5(comparison: Comparison) -> Table | None:
    """MoDE − MoE on images at every strength, in points; None where no images were learned."""
    strengths = sorted({each.alpha for line in comparison.images for each in line.strengths if each.alpha > 0})
    if not strengths:
        return None
    rows = []
    for line in comparison.images:
        gains = {each.alpha: points(each.difference) for each in line.strengths}
        rows.append([printable(line.images), *(gains.get(alpha, MISSING) for alpha in strengths)])
    return Table(["images", *(f"α = {alpha:g}" for alpha in strengths)], rows)


def table_7(comparison: Comparison) -> Table | None:
    """As table_3, for dense mixtures of more experts; None where there is only one number of experts."""
    counts = sorted({choice.architecture.experts for line in comparison.lines for choice in line.dense})
    if len(counts) < 2:
        return None
    headings = ["table"]
    for count in counts:
        headings += [f"{count} experts: MoE", "MoDE", "MoDE − MoE"]
    rows, marks = [], []
    for line in comparison.lines:
        by_count = {choice.architecture.experts: choice for choice in line.dense}
        rows.append([f"{printable(line.table)}, here"])
        for count in counts:
            rows[-1] += _chosen(by_count[count])[:3] if count in by_count else [MISSING] * 3
        marks.append("")
        if line.paper:
            rows.append([f"{line.paper}, paper"])
            for count in counts:
                printed = TABLE_7[line.paper].get(count)
                rows[-1] += _printed_pair(*printed) if printed else [MISSING] * 3
            marks.append(PAPER)
    return Table(headings, rows, marks)


def table_6(tables: Sequence[TableResults], shown: Sequence[float]) -> Table | None:
    """Expert probing at each strength: means over seeds beside the paper's one run; None where nothing was probed."""
    analysed = probed(tables)
    if analysed is None:
        return None
    variant = analysed[1]
    ours = {alpha: found for alpha in shown if (found := probes(variant, alpha))}
    if not ours:
        return None
    paper = variant.architecture.experts == 2
    headings = ["metric"]
    for alpha in ours:
        headings += [f"α = {alpha:g}, here"] + (["paper"] if paper and alpha in TABLE_6 else [])
    rows = []
    for label, mine, theirs in _METRICS:
        cells = [label]
        for alpha, found in ours.items():
            cells.append(mine(found))
            if paper and alpha in TABLE_6:
                cells.append(theirs(TABLE_6[alpha]))
        rows.append(cells)
    return Table(headings, rows)


def mode_text(comparison: Comparison, tables: Sequence[TableResults], shown: Sequence[float]) -> str:
    """Everything as Markdown, columns lined up, so that it also reads well on a terminal."""
    parts = [
        "# MoDE on " + ", ".join(names(comparison)),
        f"Accuracy on the test rows in percent, mean ± standard deviation; differences in points. {caveat(comparison)}",
        *(f"{printable(line.table)}: {line.paper_note}." for line in comparison.lines if line.paper_note),
        "## Table 3: one expert, MoE and MoDE",
        markdown(table_3(comparison)),
    ]
    seven, six = table_7(comparison), table_6(tables, shown)
    if seven is not None:
        parts += ["## Table 7: more experts, dense gate", markdown(seven)]
    if six is not None:
        parts += [f"## Table 6: expert probing on {printable(_analysed(tables))} (the paper’s: {TABLE_6_ON})"]
        parts += [markdown(six)]
    five, strengths = table_5(comparison), strengths_5(comparison)
    if five is not None and strengths is not None:
        parts += ["## Table 5: images", *(sentence for line in comparison.images for sentence in image_notes(line))]
        parts += [markdown(five), "MoDE − MoE at every strength:", markdown(strengths)]
    four = table_4(comparison.translations)
    if four is not None:
        parts += ["## Table 4: translation, BLEU", markdown(four)]
        parts += [sentence for line in comparison.translations for sentence in translation_notes(line)]
    parts += ["## What holds", markdown(claims_table(comparison.claims))]
    return "\n\n".join(parts) + "\n"


def caveat(comparison: Comparison) -> str:
    """How often all was measured, and what the intervals leave out."""
    runs = len(comparison.seeds)
    return (
        f"{runs} run{'s' if runs > 1 else ''}, each with its own split (60, 20 and 20%), initialisation and order. "
        "Intervals are 95%, Student’s t over differences paired by seed. The splits of one table overlap, so an "
        "interval is somewhat too narrow for a claim about new data. No interval is corrected for there being many. α "
        "is the best on the validation rows of all runs, some of which are test rows of others."
    )


def spread(summary: Summary | None) -> str:
    """An accuracy in percent: `94.98 ± 1.43`."""
    if summary is None:
        return MISSING
    return fixed(100 * summary.mean, 2) + ("" if summary.std is None else f" ± {100 * summary.std:.2f}")


def said(printed: Printed) -> str:
    """The paper's, likewise."""
    return f"{100 * printed[0]:.2f} ± {100 * printed[1]:.2f}"


def _chosen(choice: Choice) -> list[str]:
    return [spread(choice.moe), spread(choice.mode), points(choice.difference), f"{choice.alpha:g}"]


def _printed_pair(moe: Printed, mode: Printed) -> list[str]:
    return [said(moe), said(mode), f"{100 * (mode[0] - moe[0]):+.2f}"]


def _analysed(tables: Sequence[TableResults]) -> str:
    found = probed(tables)
    return found[0].table if found else ""


def _percent(found: Sequence[Probe], name: str) -> str:
    values = [value for probe in found if (value := getattr(probe, name)) is not None]
    return spread(Summary.of(values)) if values else MISSING


def _domains(found: Sequence[Probe]) -> str:
    """Accuracy on its own domain of the worse and of the better expert: experts have no order over seeds."""
    pairs = [sorted(value for value in probe.domain_accuracy if value is not None) for probe in found]
    low, high = ([pair[side] for pair in pairs if pair] for side in (0, -1))
    return f"{100 * np.mean(low):.2f}, {100 * np.mean(high):.2f}" if low else MISSING


def _mean(found: Sequence[Probe], name: str) -> str:
    return fixed(float(np.mean([getattr(probe, name) for probe in found])), 1)


_Metric = tuple[str, Callable[[Sequence[Probe]], str], Callable[[PrintedProbe], str]]
_METRICS: tuple[_Metric, ...] = (
    ("accuracy", lambda found: _percent(found, "accuracy"), lambda printed: f"{100 * printed.accuracy:.2f}"),
    (
        "accuracy, gate masked",
        lambda found: _percent(found, "masked_accuracy"),
        lambda printed: f"{100 * printed.masked_accuracy:.2f}",
    ),
    (
        "experts on their own domain",
        _domains,
        lambda printed: ", ".join(f"{100 * value:.2f}" for value in sorted(printed.domain_accuracy)),
    ),
    ("gate's inclination", lambda found: _percent(found, "inclination"), lambda p: f"{100 * p.inclination:.2f}"),
    (
        "recognition accuracy",
        lambda found: _percent(found, "recognition_accuracy"),
        lambda printed: f"{100 * printed.recognition_accuracy:.2f}",
    ),
    ("expert consistency", lambda found: _percent(found, "consistency"), lambda p: f"{100 * p.consistency:.2f}"),
    ("type 1 errors", lambda found: _mean(found, "type_1_errors"), lambda p: _wrong(p)),
    ("type 2 errors", lambda found: _mean(found, "type_2_errors"), lambda p: str(p.recognisable - p.recognised)),
    ("test rows", lambda found: f"{found[0].inputs}", lambda printed: "400"),
)


def _wrong(printed: PrintedProbe) -> str:
    return str(400 - printed.recognisable)


def markdown(table: Table) -> str:
    """A table as Markdown with its columns lined up, so that it also reads well on a terminal."""
    lines = [
        [html.escape(cell, quote=False).replace("|", "\\|") or " " for cell in row]
        for row in (table.headings, *table.rows)
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.headings))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def notes(line: TableLine) -> list[str]:
    """What a reader should know of a table."""
    about = f"{printable(line.table)}: {line.rows:,} rows, {line.features} features, {line.classes} classes."
    return [about, *([f"{line.paper_note[0].upper()}{line.paper_note[1:]}."] if line.paper_note else []), *line.notes]


def image_notes(line: ImageLine) -> list[str]:
    """What a reader should know of an image data set and how it was learned."""
    runs = f"{len(line.seeds)} run{'s' if len(line.seeds) > 1 else ''}"
    epochs = f"{line.epochs} epoch{'s' if line.epochs > 1 else ''}"
    about = f"{printable(line.images)}: {line.network}, {epochs}, {runs}, augmentation {line.augmentation}."
    return [about, printable(line.split)]


def names(comparison: Comparison) -> list[str]:
    """All data sets, each once."""
    found = [line.table for line in comparison.lines] + [line.images for line in comparison.images]
    found += [line.corpus for line in comparison.translations]
    return [printable(name) for name in dict.fromkeys(found)]
