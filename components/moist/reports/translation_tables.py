"""Table 4 of the MoDE paper from a run, the paper's own figures beside it."""

from collections.abc import Sequence

from moist.mode.paper import TABLE_4
from moist.mode.statistics import Summary
from moist.mode.translation_comparison import TranslationLine, bleu_difference
from moist.reports.documents import Table
from moist.reports.labels import MISSING, printable


def table_4(lines: Sequence[TranslationLine]) -> Table | None:
    """BLEU, mean and standard deviation over seeds; None where nothing was translated."""
    if not lines:
        return None
    rows, marks = [], []
    for line in lines:
        gain = MISSING if line.difference is None else bleu_difference(line.difference)
        alpha = MISSING if line.alpha is None else f"{line.alpha:g}"
        rows.append([f"{printable(line.corpus)}, here", *map(_bleu, (line.single, line.moe, line.mode)), gain, alpha])
        marks.append("")
    for name, (single, moe, mode) in TABLE_4.items():
        rows.append([f"{name}, paper", f"{single:.2f}", f"{moe:.2f}", f"{mode:.2f}", f"{mode - moe:+.2f}", "1"])
        marks.append("paper")
    return Table(["corpus", "single", "MoE", "MoDE", "MoDE − MoE", "α"], rows, marks)


def translation_notes(line: TranslationLine) -> list[str]:
    """How one corpus was learned, and how BLEU was counted."""
    sizes = ", ".join(f"{name} {count / 1e6:.1f} million" for name, count in line.parameters.items())
    pairs = ", ".join(f"{count:,} {part}" for part, count in line.pairs.items())
    runs = f"{len(line.seeds)} run{'s' if len(line.seeds) > 1 else ''}"
    return [
        f"{printable(line.corpus)}: sentence pairs {pairs}; {line.epochs} epochs, {runs}; parameters: {sizes}.",
        f"BLEU by sacrebleu, {printable(line.signature)}, beam {line.search['beam']:g}, length penalty "
        f"{line.search['length_penalty']:g}. The paper's corpora are others, so its figures are no target.",
    ]


def _bleu(summary: Summary | None) -> str:
    if summary is None:
        return MISSING
    return f"{summary.mean:.2f}" + ("" if summary.std is None else f" ± {summary.std:.2f}")
