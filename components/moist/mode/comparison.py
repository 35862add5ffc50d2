"""What the MoDE pipeline's results say: the paper's tables from them, paired differences, and which claims hold."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from moist.errors import InputError
from moist.frozen import Frozen
from moist.mode.claims import Claim, Verdict, of_all, over_tables, points, verdict
from moist.mode.image_comparison import ImageLine, image_claims, image_lines
from moist.mode.paper import TABLE_3
from moist.mode.probing import Probe
from moist.mode.results import Architecture, ImageResults, TableResults, VariantResults, best_alpha
from moist.mode.statistics import Paired, Summary
from moist.mode.translation_comparison import TranslationLine, translation_claims, translation_lines
from moist.mode.translation_results import TranslationResults

RELATED = {
    "isolet1": ("isolet", "one of Isolet's five parts: 1560 of its 7797 rows, so its figures are not the paper's task"),
    "digits": (
        "optdigits",
        "scikit-learn's copy of 1797 of Optdigits' 5620 rows, so the paper's are no target",
    ),
}
"""Tables that are a part of one of the paper's: the paper's name, and what is different."""

TOLERANCE = 0.015
"""How far a mean may lie from the paper's: 1.5 points."""

SAME = 0.95
"""Experts that agree on more of the test rows than this are called the same."""

CLEAR = 0.01
"""A smaller difference between shares of a gradient, which have no interval, settles nothing."""

TABLE_6_ON = "mfeat-karhunen"
"""The table on which the paper analyses the experts."""


class Choice(Frozen):
    """A plain mixture beside the same one with mutual distillation, on one table; accuracies 0-1 on test rows."""

    architecture: Architecture
    alpha: float = Field(description="of the candidates, the one of best mean validation accuracy")
    moe: Summary
    mode: Summary
    difference: Paired = Field(description="mode - moe, paired by seed")


class TableLine(Frozen):
    """One table: its lines of Tables 3 and 7."""

    table: str
    rows: int
    features: int
    classes: int
    notes: list[str]
    paper: str | None = Field(description="the paper's name of it, if it is one of the paper's or a part of one")
    paper_note: str = Field(description="how it differs from the paper's; empty if it does not")
    single: Summary | None
    choices: list[Choice] = Field(description="one for each architecture that has experts to distil among")

    def of(self, gate: str) -> Choice | None:
        """Table 3's column of a gate: the mixture with the fewest experts."""
        found = [choice for choice in self.choices if choice.architecture.gate == gate]
        return min(found, key=lambda choice: choice.architecture.experts, default=None)

    @property
    def dense(self) -> list[Choice]:
        """Table 7's columns, by number of experts."""
        found = [choice for choice in self.choices if choice.architecture.gate == "dense"]
        return sorted(found, key=lambda choice: choice.architecture.experts)


class Comparison(Frozen):
    """All lines, and what they say together."""

    lines: list[TableLine]
    seeds: list[int]
    candidates: list[float]
    images: list[ImageLine] = Field(default=[], description="Table 5; empty where no images were learned")
    translations: list[TranslationLine] = Field(default=[], description="Table 4; empty where nothing was translated")
    claims: list[Claim]


def compare_results(
    tables: Sequence[TableResults],
    candidates: Sequence[float],
    images: Sequence[ImageResults] = (),
    translations: Sequence[TranslationResults] = (),
) -> Comparison:
    """Choose alphas, for tables among `candidates`, for images among all that were trained; pair, and judge.

    Raises InputError for no tables, anything that is there twice, different seeds, or a variant that has none of the
    candidates.
    """
    names = [table.table for table in tables]
    if not names or len(set(names)) < len(names):
        raise InputError(f"The tables to compare are {', '.join(names) or 'none'}: give at least one, each once.")
    seeds = [variant.seeds for table in tables for variant in table.variants]
    if not seeds or any(other != seeds[0] for other in seeds):
        raise InputError("The results to compare come from different seeds: train all variants with the same ones.")
    lines = [_line(table, candidates) for table in tables]
    seen = image_lines(images)
    translated = translation_lines(translations)
    return Comparison(
        lines=lines,
        seeds=seeds[0],
        candidates=list(candidates),
        images=seen,
        translations=translated,
        claims=[*_claims(lines, tables), *image_claims(seen), *translation_claims(translated)],
    )


def accuracies(variant: VariantResults, alpha: float, part: Literal["test", "validation"] = "test") -> list[float]:
    """One accuracy a seed, 0-1. Raises InputError if the variant was not trained with this alpha."""
    if alpha not in variant.alphas:
        trained = ", ".join(f"{each:g}" for each in variant.alphas)
        raise InputError(f"{variant.architecture.label} was not trained with alpha {alpha:g}; it has {trained}.")
    return [row[variant.alphas.index(alpha)] for row in getattr(variant, part)]


def probes(variant: VariantResults, alpha: float) -> list[Probe]:
    """One probe a seed; none where the experts were not probed, or not with this alpha."""
    return variant.probes[variant.alphas.index(alpha)] if alpha in variant.alphas and variant.probes else []


def probed(tables: Sequence[TableResults]) -> tuple[TableResults, VariantResults] | None:
    """What Table 6 and Figs 1, 3 and 4 are of: the paper's table if it is there, and its smallest dense mixture."""
    for table in sorted(tables, key=lambda table: table.table != TABLE_6_ON):
        dense = [variant for variant in table.variants if variant.architecture.gate == "dense"]
        if dense:
            return table, min(dense, key=lambda variant: variant.architecture.experts)
    return None


def _line(table: TableResults, candidates: Sequence[float]) -> TableLine:
    name, note = RELATED.get(table.table, (table.table if table.table in TABLE_3 else None, ""))
    single = next((variant for variant in table.variants if variant.architecture.gate == "single"), None)
    mixtures = [variant for variant in table.variants if variant.architecture.gate != "single"]
    return TableLine(
        table=table.table,
        rows=table.rows,
        features=table.features,
        classes=len(table.classes),
        notes=table.notes,
        paper=name,
        paper_note=note,
        single=Summary.of(accuracies(single, 0.0)) if single else None,
        choices=[_choice(variant, candidates) for variant in mixtures],
    )


def _choice(variant: VariantResults, candidates: Sequence[float]) -> Choice:
    try:
        best = best_alpha(variant.alphas, variant.validation, candidates)
    except InputError as error:
        raise InputError(f"{variant.architecture.label}: {error}") from None
    moe, mode = accuracies(variant, 0.0), accuracies(variant, best)
    return Choice(
        architecture=variant.architecture,
        alpha=best,
        moe=Summary.of(moe),
        mode=Summary.of(mode),
        difference=Paired.of(mode, moe),
    )


def _claims(lines: Sequence[TableLine], tables: Sequence[TableResults]) -> list[Claim]:
    found = [*_table_3_claims(lines), *_paper_claims(lines), *_table_7_claims(lines)]
    analysed = probed(tables)
    if analysed is not None:
        found += [*_strength_claims(*analysed), *_probing_claims(*analysed), *_vision_claims(*analysed)]
    return found


def _table_3_claims(lines: Sequence[TableLine]) -> list[Claim]:
    found = []
    for gate in ("dense", "sparse"):
        chosen = [(line, choice) for line in lines if (choice := line.of(gate)) is not None]
        if not chosen:
            continue
        together = over_tables([(choice.mode, choice.moe) for _, choice in chosen])
        against = [line.table for line, choice in chosen if verdict(choice.difference) != "holds"]
        found.append(
            Claim(
                claim=f"MoDE is more accurate than MoE ({gate} gate, Table 3)",
                here=f"{points(together)} points, mean of {_count(len(chosen), 'table')}"
                + (f"; not shown on {', '.join(against)} alone" if against and len(chosen) > 1 else ""),
                verdict=verdict(together),
            )
        )
        beside = [(choice.moe, line.single) for line, choice in chosen if line.single is not None]
        if beside:
            plain = over_tables(beside)
            found.append(
                Claim(
                    claim=f"MoE is more accurate than one expert alone ({gate} gate, Table 3)",
                    here=f"{points(plain)} points, mean of {_count(len(beside), 'table')}",
                    verdict=verdict(plain),
                )
            )
    return found


def _paper_claims(lines: Sequence[TableLine]) -> list[Claim]:
    """How far the means of Table 3 are from the paper's, on the paper's own tables."""
    cells, far = 0, []
    for line in lines:
        if line.paper is None or line.paper_note:
            continue
        for column, mean, printed in paper_cells(line):
            cells += 1
            if abs(mean - printed) > TOLERANCE:
                far.append(f"{line.table} {column} ({100 * (mean - printed):+.2f})")
    if not cells:
        return []
    return [
        Claim(
            claim="The means of Table 3, to 1.5 points",
            here=f"{cells - len(far)} of {cells} are" + (f"; not {', '.join(far)}" if far else ""),
            verdict="does not hold" if far else "holds",
        )
    ]


def paper_cells(line: TableLine) -> list[tuple[str, float, float]]:
    """Column, our mean and the paper's, for the columns of Table 3 that both have."""
    if line.paper is None:
        return []
    printed = TABLE_3[line.paper]
    cells = [("single", line.single.mean, printed.single[0])] if line.single else []
    for gate, moe, mode in (
        ("dense", printed.dense_moe, printed.dense_mode),
        ("sparse", printed.sparse_moe, printed.sparse_mode),
    ):
        choice = line.of(gate)
        if choice is not None:
            cells += [(f"{gate} MoE", choice.moe.mean, moe[0]), (f"{gate} MoDE", choice.mode.mean, mode[0])]
    return cells


def _table_7_claims(lines: Sequence[TableLine]) -> list[Claim]:
    counts = sorted({choice.architecture.experts for line in lines for choice in line.dense})
    if len(counts) < 2:
        return []
    found = []
    by_count = {
        count: [next(c for c in line.dense if c.architecture.experts == count) for line in lines]
        for count in counts
        if all(any(c.architecture.experts == count for c in line.dense) for line in lines)
    }
    if len(by_count) > 1:
        gains = {count: over_tables([(c.mode, c.moe) for c in chosen]) for count, chosen in by_count.items()}
        found.append(
            Claim(
                claim="MoDE beats MoE however many experts there are (Table 7)",
                here="; ".join(f"{count} experts {points(gain)}" for count, gain in gains.items()),
                verdict=of_all([verdict(gain) for gain in gains.values()]),
            )
        )
        few, many = min(by_count), max(by_count)
        for kind in ("moe", "mode"):
            more = over_tables(
                [
                    (getattr(large, kind), getattr(small, kind))
                    for large, small in zip(by_count[many], by_count[few], strict=True)
                ]
            )
            found.append(
                Claim(
                    claim=f"{'MoE' if kind == 'moe' else 'MoDE'} gains from {many} experts over {few} (Table 7)",
                    here=f"{points(more)} points",
                    verdict=verdict(more),
                )
            )
    return found


def _strength_claims(table: TableResults, variant: VariantResults) -> list[Claim]:
    """Fig 4: a moderate alpha helps over a wide range, a very large one does not."""
    plain = accuracies(variant, 0.0)
    gains = {alpha: Paired.of(accuracies(variant, alpha), plain) for alpha in variant.alphas if alpha > 0}
    if len(gains) < 2:
        return []
    helpful = [f"{alpha:g}" for alpha, gain in gains.items() if verdict(gain) == "holds"]
    possible = any(verdict(gain) != "does not hold" for gain in gains.values())
    largest = max(gains)
    found = [
        Claim(
            claim=f"A wide range of alpha helps (Fig 4, {table.table})",
            here=f"better than alpha 0 beyond doubt at {', '.join(helpful) or 'none'} of "
            f"{', '.join(f'{alpha:g}' for alpha in gains)}",
            verdict="holds" if len(helpful) > 1 else "not settled" if possible else "does not hold",
        )
    ]
    opposite: dict[Verdict, Verdict] = {
        "holds": "does not hold",
        "does not hold": "holds",
        "not settled": "not settled",
    }
    if largest >= 10:
        found.append(
            Claim(
                claim=f"Too large an alpha ({largest:g}) no longer helps (Fig 4, Table 6, {table.table})",
                here=f"{points(gains[largest])} points",
                verdict=opposite[verdict(gains[largest])],
            )
        )
    return found


def _probing_claims(table: TableResults, variant: VariantResults) -> list[Claim]:
    """Table 6: what a moderate alpha does to gate and experts."""
    moderate = next((alpha for alpha in (0.01, 0.1) if probes(variant, alpha)), None)
    plain = probes(variant, 0.0)
    if moderate is None or not plain:
        return []
    distilled, where = probes(variant, moderate), f"alpha {moderate:g}, Table 6, {table.table}"
    measures = {
        "The gate recognises the right expert more often": "recognition_accuracy",
        "The gate prefers one expert more clearly": "inclination",
        "Experts are better alone on their own domain": "masked_accuracy",
    }
    found = []
    for sentence, name in measures.items():
        after, before = ([getattr(probe, name) or 0.0 for probe in each] for each in (distilled, plain))
        change = Paired.of(after, before)
        found.append(Claim(claim=f"{sentence} ({where})", here=f"{points(change)} points", verdict=verdict(change)))
    repairs = variant.repairs[variant.alphas.index(moderate)] if variant.repairs else []
    if repairs:
        first, second = [each.type_1 for each in repairs], [each.type_2 for each in repairs]
        found.append(
            Claim(
                claim=f"More type 1 than type 2 errors are repaired ({where})",
                here=f"{sum(first)} type 1 and {sum(second)} type 2 repaired, "
                f"{sum(each.spoiled for each in repairs)} right answers spoiled, all {len(plain)} seeds together",
                verdict=verdict(Paired.of(first, second)),
            )
        )
    agree, free = ([probe.consistency or 0.0 for probe in each] for each in (distilled, plain))
    found.append(
        Claim(
            claim=f"Experts agree more, but stay different ({where})",
            here=f"same answer on {100 * np.mean(agree):.1f}% of the test rows, {100 * np.mean(free):.1f}% at alpha 0",
            verdict=verdict(Paired.of(agree, free)) if np.mean(agree) < SAME else "does not hold",
        )
    )
    return found


def _vision_claims(table: TableResults, variant: VariantResults) -> list[Claim]:
    """Fig 1: the share of a subset's gradient that its own expert gets, falls with distillation."""
    own = {
        alpha: float(np.mean([row[a] or 0.0 for a, row in enumerate(measured.share)]))
        for alpha, measured in zip(variant.alphas, variant.narrow_vision, strict=False)
    }
    moderate = next((alpha for alpha in (0.01, 0.1) if alpha in own), None)
    if moderate is None or 0.0 not in own:
        return []
    even = 1 / variant.architecture.experts
    return [
        Claim(
            claim=f"Vision is narrow in MoE, and wider in MoDE (Fig 1, {table.table})",
            here=f"an expert gets {100 * own[0.0]:.0f}% of its own subset's gradient at alpha 0, "
            f"{100 * own[moderate]:.0f}% at {moderate:g} ({100 * even:.0f}% were even)",
            verdict="not settled"
            if abs(own[0.0] - own[moderate]) < CLEAR
            else "holds"
            if own[0.0] > own[moderate] and own[0.0] > even + 0.05
            else "does not hold",
        )
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
